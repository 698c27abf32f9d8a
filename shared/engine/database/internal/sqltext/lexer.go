package sqltext

import "strings"

type tokenKind uint8

const (
	tokWord tokenKind = iota + 1
	tokNumber
	tokSymbol
	tokSemicolon
	tokParameter
	tokComment
	tokIdent          // "…"
	tokUnicodeIdent   // U&"…"
	tokLiteral        // '…' and N'…'
	tokEscape         // E'…'
	tokUnicodeLiteral // U&'…'
	tokBits           // B'…' and X'…'
	tokDollar         // $tag$…$tag$
)

// token is a token of the source. Offsets are those of the whole text, also in
// the body of a dollar quote that is lexed again.
type token struct {
	kind       tokenKind
	start, end int
	// body is what stands between the quotes; equal to start and end for
	// tokens without quotes.
	bodyStart, bodyEnd int
	// refs are the variables of the body; those of a dollar quote are found
	// when it is known whether the quote holds code.
	refs []ref
}

// lexer cuts text into tokens by the rules of PostgreSQL's scan.l, with
// standard_conforming_strings on. Where versions differ it refuses.
type lexer struct {
	src      string
	pos, end int
	// code is true in the body of a function, where parameters have a meaning.
	code bool
	// afterLiteral is true when the last token but comments was a string.
	afterLiteral bool
}

// next returns the next token, comments included; false at the end.
func (l *lexer) next() (token, bool, error) {
	for l.pos < l.end && isSpace(l.src[l.pos]) {
		l.pos++
	}
	if l.pos == l.end {
		return token{}, false, nil
	}
	t, err := l.scan()
	if err != nil {
		return token{}, false, err
	}
	l.pos = t.end
	if t.kind != tokComment {
		l.afterLiteral = t.kind == tokLiteral || t.kind == tokEscape || t.kind == tokUnicodeLiteral || t.kind == tokBits
	}
	return t, true, nil
}

func (l *lexer) scan() (token, error) {
	c := l.src[l.pos]
	switch {
	case l.at("--"):
		return l.lineComment(), nil
	case l.at("/*"):
		return l.blockComment()
	case c == '\'' || c == '"' || l.prefixLen() > 0:
		return l.quoted()
	case c == '$':
		return l.dollar()
	case l.at(".."): // the range of a loop
		return l.bare(tokSymbol, l.pos+2), nil
	case isDigit(c) || c == '.' && l.digitAt(l.pos+1):
		return l.number()
	case isWordStart(c):
		end := l.pos + 1
		for end < l.end && (isWordPart(l.src[end]) || l.src[end] == '$') {
			end++
		}
		return l.bare(tokWord, end), nil
	case c == ';':
		return l.bare(tokSemicolon, l.pos+1), nil
	case strings.IndexByte("()[],.:+-*/<>=~!@#%^&|?`", c) >= 0:
		return l.bare(tokSymbol, l.pos+1), nil
	}
	return token{}, l.stray(c)
}

// stray explains a character that no token begins with.
func (l *lexer) stray(c byte) error {
	switch c {
	case '\\':
		return &lexError{l.pos, "a backslash outside quotes: psql's commands are not SQL"}
	case '{':
		r, found, err := readRef(l.src, l.pos, l.end)
		if err != nil {
			return err
		}
		if found {
			return &lexError{l.pos, "variable " + r.variable.String() +
				` outside quotes: write "` + r.variable.String() + `" for a role, '` + r.variable.String() + `' for text`}
		}
		return &lexError{l.pos, "a brace outside quotes"}
	}
	return &lexError{l.pos, "a character outside quotes that no SQL token begins with"}
}

func (l *lexer) at(s string) bool { return strings.HasPrefix(l.src[l.pos:l.end], s) }

func (l *lexer) digitAt(i int) bool { return i < l.end && isDigit(l.src[i]) }

func (l *lexer) bare(kind tokenKind, end int) token {
	return token{kind: kind, start: l.pos, end: end, bodyStart: l.pos, bodyEnd: end}
}

func (l *lexer) lineComment() token {
	if n := strings.IndexAny(l.src[l.pos:l.end], "\r\n"); n >= 0 {
		return l.bare(tokComment, l.pos+n)
	}
	return l.bare(tokComment, l.end)
}

func (l *lexer) blockComment() (token, error) {
	depth, i := 0, l.pos
	for i+1 < l.end {
		switch l.src[i : i+2] {
		case "/*":
			depth++
			i += 2
		case "*/":
			depth--
			i += 2
			if depth == 0 {
				return l.bare(tokComment, i), nil
			}
		default:
			i++
		}
	}
	return token{}, &lexError{l.pos, "a comment that is not closed"}
}

// number reads the decimal numbers that all versions read alike.
func (l *lexer) number() (token, error) {
	i := l.pos
	digits := func() {
		for l.digitAt(i) {
			i++
		}
	}
	digits()
	// Two dots are no end of a number.
	if i < l.end && l.src[i] == '.' && !strings.HasPrefix(l.src[i:l.end], "..") {
		i++
		digits()
	}
	if i < l.end && (l.src[i] == 'e' || l.src[i] == 'E') {
		if l.digitAt(i+1) || i+1 < l.end && (l.src[i+1] == '+' || l.src[i+1] == '-') && l.digitAt(i+2) {
			i += 2
			digits()
		}
	}
	if i < l.end && (isWordStart(l.src[i]) || l.src[i] == '$') {
		return token{}, &lexError{l.pos, "a number that letters follow directly"}
	}
	return l.bare(tokNumber, i), nil
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' }

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// isWordStart takes all bytes above ASCII for letters, as PostgreSQL does.
func isWordStart(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '_' || c >= 0x80
}

func isWordPart(c byte) bool { return isWordStart(c) || isDigit(c) }
