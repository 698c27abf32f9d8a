package sqltext

import "strings"

// prefixLen returns the length of what stands before a quote and decides its
// kind: E, B, X, N or U&; 0 where there is no such prefix with a quote.
func (l *lexer) prefixLen() int {
	rest := l.src[l.pos:l.end]
	if len(rest) > 1 && rest[1] == '\'' && strings.IndexByte("eEbBxXnN", rest[0]) >= 0 {
		return 1
	}
	if len(rest) > 2 && (rest[0] == 'u' || rest[0] == 'U') && rest[1] == '&' && (rest[2] == '\'' || rest[2] == '"') {
		return 2
	}
	return 0
}

// quoted reads '…', "…" and their forms with a prefix.
func (l *lexer) quoted() (token, error) {
	prefix := l.prefixLen()
	open := l.pos + prefix
	t := token{kind: quotedKind(l.src[l.pos], prefix, l.src[open]), start: l.pos, bodyStart: open + 1}
	if l.afterLiteral && prefix == 0 && l.src[open] == '\'' {
		return token{}, &lexError{l.pos, "string literals in a row: PostgreSQL may read them as one; write one literal"}
	}
	end, closed := l.closing(open, t.kind)
	if !closed {
		return token{}, &lexError{l.pos, "a quote that is not closed"}
	}
	t.bodyEnd, t.end = end, end+1
	if t.kind == tokIdent && t.bodyStart == t.bodyEnd {
		return token{}, &lexError{l.pos, "an identifier of no characters"}
	}
	refs, err := readRefs(l.src, t.bodyStart, t.bodyEnd, t.kind == tokEscape)
	if err != nil {
		return token{}, err
	}
	if len(refs) > 0 && (t.kind == tokUnicodeIdent || t.kind == tokUnicodeLiteral || t.kind == tokBits) {
		return token{}, &lexError{refs[0].start, "variable " + refs[0].variable.String() +
			` inside U&'…', U&"…", B'…' or X'…': write plain quotes`}
	}
	t.refs = refs
	return t, nil
}

func quotedKind(first byte, prefix int, quote byte) tokenKind {
	switch {
	case prefix == 2 && quote == '"':
		return tokUnicodeIdent
	case prefix == 2:
		return tokUnicodeLiteral
	case prefix == 1 && (first == 'e' || first == 'E'):
		return tokEscape
	case prefix == 1 && (first == 'b' || first == 'B' || first == 'x' || first == 'X'):
		return tokBits
	case quote == '"':
		return tokIdent
	}
	return tokLiteral
}

// closing returns the offset of the quote that closes the one at open. In all
// kinds but bit strings a doubled quote stands for one; in E'…' a backslash
// takes the next character with it.
func (l *lexer) closing(open int, kind tokenKind) (int, bool) {
	quote := l.src[open]
	for i := open + 1; i < l.end; i++ {
		switch {
		case kind == tokEscape && l.src[i] == '\\':
			i++
		case l.src[i] != quote:
		case kind != tokBits && i+1 < l.end && l.src[i+1] == quote:
			i++
		default:
			return i, true
		}
	}
	return 0, false
}

// dollar reads $tag$…$tag$, or a parameter where code is read.
func (l *lexer) dollar() (token, error) {
	i := l.pos + 1
	if l.digitAt(i) {
		for l.digitAt(i) {
			i++
		}
		if !l.code || i < l.end && isWordStart(l.src[i]) {
			return token{}, &lexError{l.pos, "a parameter: nothing is bound to it here"}
		}
		return l.bare(tokParameter, i), nil
	}
	for i < l.end && isWordPart(l.src[i]) {
		i++
	}
	if i == l.end || l.src[i] != '$' {
		return token{}, &lexError{l.pos, "a dollar sign outside quotes"}
	}
	delim := l.src[l.pos : i+1]
	body := i + 1
	n := strings.Index(l.src[body:l.end], delim)
	if n < 0 {
		return token{}, &lexError{l.pos, "a dollar quote that is not closed"}
	}
	return token{kind: tokDollar, start: l.pos, end: body + n + len(delim), bodyStart: body, bodyEnd: body + n}, nil
}

// delim returns the delimiter of a dollar quote.
func (t token) delim(src string) string { return src[t.start:t.bodyStart] }
