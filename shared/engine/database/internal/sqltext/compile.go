package sqltext

import (
	"slices"
	"strings"
)

// escape says for which quotes a value is escaped.
type escape uint8

const (
	escapeIdent escape = iota + 1
	escapeLiteral
	escapeBackslash
	escapeNone // dollar quotes
)

// piece is a part of a statement: text that goes out as it is, or a variable.
type piece struct {
	text     string
	variable Variable // 0 for text
	escape   escape
	// plain values only: the quotes around may hold code whose own quotes the
	// lexer does not know.
	plain bool
}

// guard is a condition on what the pieces from and up to (not including) to
// become.
type guard struct {
	from, to int
	// delim must not occur in it, nor be completed by what follows; empty for
	// an identifier, which must fit.
	delim string
}

// maxNesting bounds dollar quotes within each other, each of which is lexed
// again.
const maxNesting = 8

// compiler turns a statement's tokens into pieces.
type compiler struct {
	src     string
	static  strings.Builder
	pieces  []piece
	guards  []guard
	uses    []Variable
	nesting int
	// misplaced is set when the password stands elsewhere than as the whole
	// literal after PASSWORD in CREATE or ALTER ROLE.
	misplaced bool
}

// compile takes the tokens from start to end, all on one level of quoting.
func (c *compiler) compile(toks []token, start, end int, code bool) error {
	cursor := start
	for i, t := range toks {
		c.static.WriteString(c.src[cursor:t.start])
		cursor = t.end
		if t.kind == tokComment && c.nesting == 0 {
			// A line comment would swallow what the batch puts behind it.
			c.static.WriteByte(' ')
			continue
		}
		if t.kind == tokDollar {
			if err := c.dollar(toks[:i], t, code); err != nil {
				return err
			}
			continue
		}
		c.quoted(toks[:i], t, len(t.refs) > 0 && needsPlain(c.src, t))
	}
	c.static.WriteString(c.src[cursor:end])
	return nil
}

// quoted puts a token out, its variables as pieces of their own.
func (c *compiler) quoted(before []token, t token, plain bool) {
	cursor, from := t.start, 0
	if len(t.refs) > 0 {
		c.static.WriteString(c.src[t.start:t.bodyStart])
		c.cut()
		cursor, from = t.bodyStart, len(c.pieces)
	}
	for _, r := range t.refs {
		c.static.WriteString(c.src[cursor:r.start])
		c.cut()
		c.pieces = append(c.pieces, piece{variable: r.variable, escape: t.escape(), plain: plain})
		cursor = r.end
		if !slices.Contains(c.uses, r.variable) {
			c.uses = append(c.uses, r.variable)
		}
		if r.variable == Password && !c.afterPassword(before, t) {
			c.misplaced = true
		}
	}
	if len(t.refs) > 0 {
		c.static.WriteString(c.src[cursor:t.bodyEnd])
		c.cut()
		cursor = t.bodyEnd
		if t.kind == tokIdent {
			c.guards = append(c.guards, guard{from: from, to: len(c.pieces)})
		}
		if t.kind == tokDollar {
			c.guards = append(c.guards, guard{from: from, to: len(c.pieces), delim: t.delim(c.src)})
		}
	}
	c.static.WriteString(c.src[cursor:t.end])
}

// dollar puts a dollar quote out. In code it is code itself: what else would
// need quotes that nest? Without code it is a string.
func (c *compiler) dollar(before []token, t token, code bool) error {
	if !strings.Contains(c.src[t.bodyStart:t.bodyEnd], "{{") {
		c.static.WriteString(c.src[t.start:t.end])
		return nil
	}
	if !code {
		refs, err := readRefs(c.src, t.bodyStart, t.bodyEnd, false)
		if err != nil {
			return err
		}
		t.refs = refs
		c.quoted(before, t, needsPlain(c.src, t))
		return nil
	}
	if c.nesting++; c.nesting > maxNesting {
		return &lexError{t.start, "dollar quotes nest too deep"}
	}
	defer func() { c.nesting-- }()
	toks, err := lexBody(c.src, t)
	if err != nil {
		return err
	}
	c.static.WriteString(c.src[t.start:t.bodyStart])
	c.cut()
	from := len(c.pieces)
	if err := c.compile(toks, t.bodyStart, t.bodyEnd, true); err != nil {
		return err
	}
	c.cut()
	c.guards = append(c.guards, guard{from: from, to: len(c.pieces), delim: t.delim(c.src)})
	c.static.WriteString(c.src[t.bodyEnd:t.end])
	return nil
}

// cut ends the text gathered so far.
func (c *compiler) cut() {
	if c.static.Len() > 0 {
		c.pieces = append(c.pieces, piece{text: c.static.String()})
		c.static.Reset()
	}
}

// afterPassword reports whether a token is the whole literal after PASSWORD in a
// statement that creates or alters a role.
func (c *compiler) afterPassword(before []token, t token) bool {
	if !t.exactly(Password) || t.kind == tokIdent || c.src[t.start] == 'n' || c.src[t.start] == 'N' {
		return false
	}
	p := phrase{c.src, before}
	i := p.before(len(before))
	if p.word(i) != "PASSWORD" {
		return false
	}
	for next := i; i >= 0; next, i = i, p.before(i) {
		switch p.word(i) {
		case "CREATE", "ALTER":
			return isRole(p.word(next)) && p.word(p.after(next)) != "MAPPING"
		}
		if before[i].kind == tokSemicolon {
			return false // in a body, the statement begins behind it
		}
	}
	return false
}

func (t token) escape() escape {
	switch t.kind {
	case tokIdent:
		return escapeIdent
	case tokEscape:
		return escapeBackslash
	case tokDollar:
		return escapeNone
	case tokLiteral, tokWord, tokNumber, tokSymbol, tokSemicolon, tokParameter, tokComment,
		tokUnicodeIdent, tokUnicodeLiteral, tokBits:
	}
	return escapeLiteral
}

// needsPlain reports whether quotes stand inside a string beside its variables,
// so that it may hold code.
func needsPlain(src string, t token) bool {
	if t.kind == tokIdent {
		return false
	}
	cursor := t.bodyStart
	for _, r := range append(slices.Clone(t.refs), ref{start: t.bodyEnd}) {
		if strings.ContainsAny(src[cursor:r.start], `'"\$`) {
			return true
		}
		cursor = r.end
	}
	return false
}

// lexBody lexes the body of a dollar quote as code.
func lexBody(src string, t token) ([]token, error) {
	l := lexer{src: src, pos: t.bodyStart, end: t.bodyEnd, code: true}
	var toks []token
	for {
		t, more, err := l.next()
		if err != nil || !more {
			return toks, err
		}
		toks = append(toks, t)
	}
}
