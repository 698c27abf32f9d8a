package passwords

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/hashicorp/hcl/hcl/ast"
	"github.com/hashicorp/hcl/hcl/token"

	"github.com/curfew-project/curfew/issuer/internal/hcltext"
	"github.com/curfew-project/curfew/shared/password"
)

const (
	maxText = 16 << 10
	// maxDepth bounds nesting; a policy needs three levels.
	maxDepth = 16
)

// parse reads the text of a policy in HCL or, where it begins with a brace, in
// JSON. Errors begin with the words of stock servers.
func parse(text string) (password.Policy, error) {
	p := password.Policy{Text: text}
	if len(text) > maxText {
		return p, fmt.Errorf("unable to decode: more than %d bytes", maxText)
	}
	if !utf8.ValidString(text) {
		return p, errors.New("unable to decode: the text is not UTF-8")
	}
	read := readHCL
	if strings.HasPrefix(strings.TrimSpace(text), "{") {
		read = readJSON
	}
	root, err := read(text)
	if err != nil {
		return p, fmt.Errorf("unable to decode: %w", err)
	}
	if v, there := root["length"]; there {
		if p.Length, err = whole(v); err != nil {
			return p, fmt.Errorf("failed to decode configuration: length: %w", err)
		}
	}
	if p.Rules, err = rules(root["rule"]); err != nil {
		return p, fmt.Errorf("unable to parse rules: %w", err)
	}
	return p, nil
}

// rules reads rule "charset" {…}, as often as it is there.
func rules(value any) ([]password.Rule, error) {
	var out []password.Rule
	blocks, err := objects(value)
	if err != nil {
		return nil, err
	}
	for _, block := range blocks {
		if len(block) == 0 {
			return nil, errors.New("unable to get rule info: rule is empty")
		}
		for kind, value := range block {
			if kind != "charset" {
				return nil, fmt.Errorf("unable to parse rule %s: unrecognized rule type %s", kind, kind)
			}
			bodies, err := objects(value)
			if err != nil || len(bodies) == 0 {
				return nil, errors.New("unable to get rule info: rule info cannot be empty")
			}
			for _, body := range bodies {
				r, err := charset(body)
				if err != nil {
					return nil, fmt.Errorf("unable to parse rule %s: failed to parse charset restriction: %w", kind, err)
				}
				out = append(out, r)
			}
		}
	}
	return out, nil
}

func charset(body map[string]any) (r password.Rule, err error) {
	if v, there := body["charset"]; there {
		text, ok := v.(string)
		if !ok {
			return r, errors.New("charset is not a string")
		}
		r.Charset = text
	}
	if v, there := body["min-chars"]; there {
		if r.Min, err = whole(v); err != nil {
			return r, fmt.Errorf("min-chars: %w", err)
		}
	}
	return r, nil
}

// objects gives the objects of a value: none, one, or a list of some.
func objects(value any) ([]map[string]any, error) {
	switch v := value.(type) {
	case nil:
		return nil, nil
	case map[string]any:
		return []map[string]any{v}, nil
	case []any:
		var out []map[string]any
		for _, item := range v {
			o, ok := item.(map[string]any)
			if !ok {
				return nil, errors.New("a block is expected")
			}
			out = append(out, o)
		}
		return out, nil
	}
	return nil, errors.New("a block is expected")
}

func whole(value any) (int, error) {
	n, ok := value.(json.Number)
	if ok {
		if i, err := strconv.ParseInt(n.String(), 10, 32); err == nil && i > math.MinInt32 {
			return int(i), nil
		}
	}
	return 0, errors.New("a whole number is expected")
}

// readJSON reads what stands for the same blocks.
func readJSON(text string) (map[string]any, error) {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var root map[string]any
	if err := d.Decode(&root); err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("data after the end of the policy")
	}
	return root, nil
}

func readHCL(text string) (map[string]any, error) {
	list, err := hcltext.Parse(text, maxDepth)
	if err != nil {
		return nil, err
	}
	return hclObject(list)
}

// hclObject gives what JSON of the same meaning would: the keys of a block are
// objects inside each other, and what is there several times is a list.
func hclObject(list *ast.ObjectList) (map[string]any, error) {
	out := map[string]any{}
	for _, item := range list.Items {
		if len(item.Keys) == 0 {
			return nil, errors.New("an object stands where a key should")
		}
		value, err := hclValue(item.Val)
		if err != nil {
			return nil, err
		}
		names := make([]string, len(item.Keys))
		for i, key := range item.Keys {
			if names[i], err = hcltext.Text(key.Token); err != nil {
				return nil, err
			}
		}
		for i := len(names) - 1; i > 0; i-- {
			value = map[string]any{names[i]: value}
		}
		name := names[0]
		before, again := out[name]
		_, block := value.(map[string]any)
		switch {
		case !again:
			out[name] = value
		case !block:
			return nil, fmt.Errorf("%q is set twice", name)
		default:
			all, ok := before.([]any)
			if !ok {
				all = []any{before}
			}
			out[name] = append(all, value)
		}
	}
	return out, nil
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
		if n.Token.Type == token.NUMBER {
			return json.Number(n.Token.Text), nil
		}
		if n.Token.Type == token.FLOAT || n.Token.Type == token.BOOL {
			return nil, fmt.Errorf("%s stands where a whole number or a text should", n.Token.Text)
		}
		return hcltext.Text(n.Token)
	}
	return nil, errors.New("a value that is not supported")
}
