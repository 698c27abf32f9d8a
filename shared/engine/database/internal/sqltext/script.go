package sqltext

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// MaxText bounds the bytes of all texts of a script together: a batch has at
// most 256 kB (B5), and a text that fills it alone has no place in a role.
const MaxText = 128 << 10

// Script is a list of statements of one kind. The zero value is an empty one.
type Script struct {
	kind       Kind
	statements []Statement
}

// Statement is one statement, ready to be rendered.
type Statement struct {
	kind      Kind
	number    int
	source    string
	class     class
	pieces    []piece
	guards    []guard
	uses      []Variable
	misplaced bool
}

// Parse reads the statements of a kind from texts that hold one or several
// each. An error is an [*Error]: the first statement that is refused.
func Parse(kind Kind, texts ...string) (Script, error) {
	s := Script{kind: kind}
	size := 0
	for _, text := range texts {
		if size += len(text); size > MaxText {
			return Script{}, &Error{Kind: kind, Reason: fmt.Sprintf("more than %d bytes", MaxText)}
		}
	}
	for _, text := range texts {
		if err := s.read(text); err != nil {
			return Script{}, err
		}
	}
	if err := s.complete(); err != nil {
		return Script{}, err
	}
	return s, nil
}

// read appends the statements of one text.
func (s *Script) read(text string) error {
	number := len(s.statements) + 1
	if i := strings.IndexByte(text, 0); i >= 0 {
		return s.refuse(text, number, "", &lexError{i, "a NUL byte"})
	}
	if !utf8.ValidString(text) {
		return &Error{Kind: s.kind, Statement: number, Reason: "the text is not UTF-8"}
	}
	l := lexer{src: text, end: len(text)}
	var toks []token
	var open []int // offsets of brackets not yet closed
	for {
		t, more, err := l.next()
		if err == nil {
			open, err = balance(open, text, t, more)
		}
		if err != nil {
			p := phrase{text, withoutComments(toks)}
			return s.refuse(text, len(s.statements)+1, p.head(), err)
		}
		if more && t.kind != tokSemicolon {
			toks = append(toks, t)
			continue
		}
		if err := s.add(text, toks); err != nil {
			return err
		}
		if toks = nil; !more {
			return nil
		}
	}
}

// balance follows brackets. Inside them a semicolon would not end the statement
// for every reader, and an open one could reach into the next statement.
func balance(open []int, text string, t token, more bool) ([]int, error) {
	if !more || t.kind == tokSemicolon {
		if len(open) > 0 {
			return nil, &lexError{open[len(open)-1], "a bracket that is not closed"}
		}
		return nil, nil
	}
	if t.kind != tokSymbol {
		return open, nil
	}
	switch c := text[t.start]; c {
	case '(', '[':
		return append(open, t.start), nil
	case ')', ']':
		if len(open) == 0 || (text[open[len(open)-1]] == '(') != (c == ')') {
			return nil, &lexError{t.start, "a bracket that was not opened"}
		}
		return open[:len(open)-1], nil
	}
	return open, nil
}

// add checks and compiles the tokens of one statement and appends it.
func (s *Script) add(text string, toks []token) error {
	p := phrase{text, withoutComments(toks)}
	if len(p.toks) == 0 {
		return nil
	}
	st := Statement{kind: s.kind, number: len(s.statements) + 1}
	start, end := p.toks[0].start, p.toks[len(p.toks)-1].end
	refuse := func(reason string) error {
		return s.refuse(text, st.number, p.head(), &lexError{start, reason})
	}
	if reason := p.refusal(); reason != "" {
		return refuse(reason)
	}
	if reason := p.kindRefusal(s.kind); reason != "" {
		return refuse(reason)
	}
	if err := p.codeRefusal(); err != nil {
		return s.refuse(text, st.number, p.head(), err)
	}
	c := compiler{src: text}
	if err := c.compile(trim(toks, start, end), start, end, p.holdsCode()); err != nil {
		return s.refuse(text, st.number, p.head(), err)
	}
	c.cut()
	for _, v := range c.uses {
		if !s.kind.has(v) {
			return refuse(v.String() + " has no value in " + s.kind.String())
		}
	}
	st.source = uncomment(text, trim(toks, start, end), start)
	st.class = p.classify(s.kind)
	st.pieces, st.guards, st.uses, st.misplaced = c.pieces, c.guards, c.uses, c.misplaced
	s.statements = append(s.statements, st)
	return nil
}

// complete checks what only all statements together can show.
func (s *Script) complete() error {
	creates := func(st Statement) bool { return st.class.creates }
	setsPassword := func(st Statement) bool { return st.Uses(Password) }
	switch {
	case s.kind == Creation && len(s.statements) == 0:
		return &Error{Kind: s.kind, Reason: "at least one statement is needed"}
	case s.kind == Creation && !slices.ContainsFunc(s.statements, creates):
		return &Error{Kind: s.kind, Reason: `no statement creates the account: one has to be CREATE ROLE "{{name}}" …`}
	case s.kind.rotates() && len(s.statements) > 0 && !slices.ContainsFunc(s.statements, setsPassword):
		return &Error{Kind: s.kind, Reason: "no statement sets {{password}}"}
	}
	return nil
}

// refuse makes an Error of what the lexer or a rule said.
func (s *Script) refuse(text string, number int, head string, err error) error {
	e := &Error{Kind: s.kind, Statement: number, Head: head, Reason: err.Error()}
	var at *lexError
	if errors.As(err, &at) {
		e.Line, e.Column = place(text, at.pos)
	}
	return e
}

func withoutComments(toks []token) []token {
	return slices.DeleteFunc(slices.Clone(toks), func(t token) bool { return t.kind == tokComment })
}

// trim leaves the comments before the first and after the last token out.
func trim(toks []token, start, end int) []token {
	return slices.DeleteFunc(slices.Clone(toks), func(t token) bool { return t.start < start || t.end > end })
}

// uncomment returns the tokens as they stand, with a space for each comment.
func uncomment(text string, toks []token, start int) string {
	var b strings.Builder
	for _, t := range toks {
		b.WriteString(text[start:t.start])
		if t.kind == tokComment {
			b.WriteByte(' ')
		} else {
			b.WriteString(text[t.start:t.end])
		}
		start = t.end
	}
	return b.String()
}
