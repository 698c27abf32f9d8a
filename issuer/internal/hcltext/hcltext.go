// Package hcltext reads texts in HCL that clients send.
//
// What holds: a text that is nested too deep never reaches the parser, which
// recurses and copies its error once for each level; a token that the library
// would panic at is an error. Who calls bounds the size of the text.
package hcltext

import (
	"errors"
	"fmt"
	"strings"

	"github.com/hashicorp/hcl/hcl/ast"
	"github.com/hashicorp/hcl/hcl/parser"
	"github.com/hashicorp/hcl/hcl/scanner"
	hclstrconv "github.com/hashicorp/hcl/hcl/strconv"
	"github.com/hashicorp/hcl/hcl/token"
)

// ErrDeep says that a text is nested deeper than was allowed.
var ErrDeep = errors.New("the text is nested too deep")

// Parse returns the items of a text whose brackets are inside of each other at
// most depth times.
func Parse(text string, depth int) (*ast.ObjectList, error) {
	src := []byte(strings.ReplaceAll(text, "\r\n", "\n"))
	if err := checkDepth(src, depth); err != nil {
		return nil, err
	}
	file, err := parser.Parse(src)
	if err != nil {
		return nil, err
	}
	list, ok := file.Node.(*ast.ObjectList)
	if !ok {
		return nil, errors.New("does not contain a root object")
	}
	return list, nil
}

// checkDepth looks with the parser's own scanner, so that both agree on what is
// inside of a string.
func checkDepth(src []byte, most int) error {
	var failed error
	s := scanner.New(src)
	s.Error = func(at token.Pos, message string) {
		if failed == nil {
			failed = &parser.PosError{Pos: at, Err: errors.New(message)}
		}
	}
	for depth := 0; failed == nil; {
		t := s.Scan().Type
		if t == token.EOF {
			return failed
		}
		if t == token.LBRACE || t == token.LBRACK {
			depth++
		}
		if t == token.RBRACE || t == token.RBRACK {
			depth--
		}
		if depth > most {
			return ErrDeep
		}
	}
	return failed
}

// Text is what a key or a string says. It does what the token's own Value does,
// which panics on strings that it cannot read.
func Text(t token.Token) (string, error) {
	if t.Type == token.IDENT {
		return t.Text, nil
	}
	if t.Type == token.HEREDOC {
		s, _ := t.Value().(string)
		return s, nil
	}
	if t.Type != token.STRING {
		return "", &parser.PosError{Pos: t.Pos, Err: fmt.Errorf("unexpected %s", t.Type)}
	}
	s, err := hclstrconv.Unquote(t.Text)
	if err != nil {
		return "", &parser.PosError{Pos: t.Pos, Err: errors.New("the string cannot be unquoted")}
	}
	return s, nil
}
