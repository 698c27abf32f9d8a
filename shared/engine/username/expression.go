package username

import (
	"errors"
	"fmt"
	"strings"
	"text/template/parse"
	"time"
)

// inputs are what a name is made of.
type inputs struct {
	display, role string // mapped
	at            time.Time
}

// value is an expression of a template with what is known of its results.
type value struct {
	max   int // bytes of the longest
	marks int // whole marks in each
	eval  func(*inputs) string
	// literal is the text of a constant, number the whole number of one.
	literal *string
	number  *int
}

const (
	// unbounded stands for any length. Sums of it do not overflow.
	unbounded = 1 << 20
	// maxInput bounds the display name and role that a template gets.
	maxInput = 512
)

// placeholder stands for the mark while the rest of the name is made, since the
// tag covers the rest. No other text has its character.
var placeholder = strings.Repeat("\x00", MarkLen)

// characters are those of which names consist, beside letters and digits. None
// of them has a meaning in an identifier, a literal or a dollar quote.
const characters = "-_.@:+/="

func plain(s string) bool {
	for i := range len(s) {
		c := s[i]
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if !letter && strings.IndexByte(characters, c) < 0 {
			return false
		}
	}
	return true
}

func constant(s string) value {
	return value{max: len(s), literal: &s, eval: func(*inputs) string { return s }}
}

func joined(parts []value) value {
	v := value{eval: func(in *inputs) string {
		var b strings.Builder
		for _, p := range parts {
			b.WriteString(p.eval(in))
		}
		return b.String()
	}}
	for _, p := range parts {
		v.max, v.marks = min(v.max+p.max, unbounded), v.marks+p.marks
	}
	return v
}

// compileNode is a part of the template: text, or what stands in braces.
func compileNode(node parse.Node) (value, error) {
	switch node := node.(type) {
	case *parse.TextNode:
		return literalText(string(node.Text))
	case *parse.ActionNode:
		v, err := compilePipe(node.Pipe)
		if err == nil && v.literal != nil {
			return literalText(*v.literal)
		}
		return v, err
	}
	return value{}, unsupported(node)
}

func literalText(s string) (value, error) {
	if !plain(s) {
		return value{}, fmt.Errorf("names consist of letters, digits and %s, not of %q", characters, s)
	}
	return constant(s), nil
}

func unsupported(node parse.Node) error {
	return fmt.Errorf("%s is not supported: write text, and pipelines of functions over .DisplayName, .RoleName and .Mark", node)
}

func compilePipe(pipe *parse.PipeNode) (value, error) {
	if pipe == nil || len(pipe.Decl) > 0 || len(pipe.Cmds) == 0 {
		return value{}, errors.New("variables are not supported")
	}
	var piped []value
	for _, command := range pipe.Cmds {
		v, err := compileCommand(command, piped)
		if err != nil {
			return value{}, err
		}
		piped = []value{v}
	}
	if piped[0].number != nil {
		return value{}, fmt.Errorf("%s is a number: put it in quotes", pipe)
	}
	return piped[0], nil
}

// compileCommand is one link of a pipeline; what comes down the pipe is its
// last argument.
func compileCommand(command *parse.CommandNode, piped []value) (value, error) {
	name, call := command.Args[0].(*parse.IdentifierNode)
	if !call {
		if len(command.Args) > 1 || len(piped) > 0 {
			return value{}, fmt.Errorf("%s is not a function", command.Args[0])
		}
		return compileArg(command.Args[0])
	}
	var args []value
	for _, arg := range command.Args[1:] {
		v, err := compileArg(arg)
		if err != nil {
			return value{}, err
		}
		args = append(args, v)
	}
	v, err := apply(name.Ident, append(args, piped...))
	if err != nil {
		return value{}, fmt.Errorf("%s: %w", name.Ident, err)
	}
	return v, nil
}

func compileArg(node parse.Node) (value, error) {
	switch node := node.(type) {
	case *parse.FieldNode:
		return compileField(node)
	case *parse.StringNode:
		// What it may hold depends on what it is for: see the functions.
		return constant(node.Text), nil
	case *parse.NumberNode:
		if !node.IsInt || int64(int(node.Int64)) != node.Int64 {
			return value{}, fmt.Errorf("%s is not a whole number", node)
		}
		n := int(node.Int64)
		return value{number: &n, eval: func(*inputs) string { return "" }}, nil
	case *parse.PipeNode:
		return compilePipe(node)
	case *parse.IdentifierNode:
		return apply(node.Ident, nil)
	}
	return value{}, unsupported(node)
}

func compileField(node *parse.FieldNode) (value, error) {
	switch strings.Join(node.Ident, ".") {
	case "DisplayName":
		return value{max: unbounded, eval: func(in *inputs) string { return in.display }}, nil
	case "RoleName":
		return value{max: unbounded, eval: func(in *inputs) string { return in.role }}, nil
	case "Mark":
		return value{max: MarkLen, marks: 1, eval: func(*inputs) string { return placeholder }}, nil
	}
	return value{}, fmt.Errorf("%s is not known: there are .DisplayName, .RoleName and .Mark", node)
}
