package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/hashicorp/hcl/hcl/ast"
	"github.com/hashicorp/hcl/hcl/parser"
	"github.com/hashicorp/hcl/hcl/token"

	"github.com/curfew-project/curfew/issuer/internal/hcltext"
)

var errDeep = fmt.Errorf("the policy is nested deeper than %d levels", maxDepth)

func readHCL(text string) (*object, error) {
	list, err := hcltext.Parse(text, maxDepth)
	if errors.Is(err, hcltext.ErrDeep) {
		return nil, errDeep
	}
	if err != nil {
		return nil, err
	}
	return hclObject(list)
}

func hclObject(list *ast.ObjectList) (*object, error) {
	o := &object{fields: make([]field, 0, len(list.Items))}
	for _, item := range list.Items {
		var names []string
		for _, key := range item.Keys {
			name, err := hcltext.Text(key.Token)
			if err != nil {
				return nil, err
			}
			names = append(names, name)
		}
		if len(names) == 0 {
			return nil, errors.New("an object stands where a key should")
		}
		value, err := hclValue(item.Val)
		if err != nil {
			return nil, err
		}
		at := item.Pos()
		o.fields = append(o.fields, field{names[0], names[1:], at.Line, at.Column, value})
	}
	return o, nil
}

func hclValue(node ast.Node) (any, error) {
	switch n := node.(type) {
	case *ast.ObjectType:
		return hclObject(n.List)
	case *ast.ListType:
		out := make([]any, 0, len(n.List))
		for _, item := range n.List {
			value, err := hclValue(item)
			if err != nil {
				return nil, err
			}
			out = append(out, value)
		}
		return out, nil
	case *ast.LiteralType:
		return hclLiteral(n.Token)
	}
	return nil, fmt.Errorf("a value of type %T is not supported", node)
}

// hclLiteral does what the token's own Value does, which panics on numbers and
// strings that it cannot read.
func hclLiteral(t token.Token) (any, error) {
	if t.Type == token.BOOL {
		return t.Text == "true", nil
	}
	if t.Type != token.NUMBER && t.Type != token.FLOAT {
		return hcltext.Text(t)
	}
	if n, err := strconv.ParseInt(t.Text, 0, 64); err == nil {
		return json.Number(strconv.FormatInt(n, 10)), nil
	}
	n, err := strconv.ParseFloat(t.Text, 64)
	if err != nil || t.Type == token.NUMBER {
		return nil, &parser.PosError{Pos: t.Pos, Err: errors.New("the number is out of range")}
	}
	return json.Number(strconv.FormatFloat(n, 'g', -1, 64)), nil
}
