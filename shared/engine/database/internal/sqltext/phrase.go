package sqltext

import (
	"slices"
	"strings"
)

// phrase is tokens as the rules see them: mostly those of a statement without
// comments and semicolon.
type phrase struct {
	src  string
	toks []token
}

// word returns an unquoted word in upper case, or "" where something else
// stands. Quoted identifiers are never keywords.
func (p phrase) word(i int) string {
	if i < 0 || i >= len(p.toks) || p.toks[i].kind != tokWord {
		return ""
	}
	return upper(p.text(i))
}

func (p phrase) text(i int) string { return p.src[p.toks[i].start:p.toks[i].end] }

func (p phrase) words(from int, want ...string) bool {
	for i, w := range want {
		if p.word(from+i) != w {
			return false
		}
	}
	return true
}

func (p phrase) has(words ...string) bool {
	for i := range p.toks {
		if w := p.word(i); w != "" && slices.Contains(words, w) {
			return true
		}
	}
	return false
}

// hasPair reports whether the two words stand next to each other.
func (p phrase) hasPair(first, second string) bool {
	for i := range p.toks {
		if p.words(i, first, second) {
			return true
		}
	}
	return false
}

// before returns the place of the last token before i that is no comment, or
// -1.
func (p phrase) before(i int) int {
	for i--; i >= 0 && p.toks[i].kind == tokComment; i-- {
		continue
	}
	return i
}

// after returns the place of the next token after i that is no comment.
func (p phrase) after(i int) int {
	for i++; i < len(p.toks) && p.toks[i].kind == tokComment; i++ {
		continue
	}
	return i
}

// own reports whether the token is the lease's account: "{{name}}" and nothing
// else inside the quotes.
func (p phrase) own(i int) bool {
	return i >= 0 && i < len(p.toks) && p.toks[i].kind == tokIdent && p.toks[i].exactly(Name)
}

// ownOnly reports whether from i on stands a list of nothing but the lease's
// account.
func (p phrase) ownOnly(i int) bool {
	if !p.own(i) {
		return false
	}
	for i++; i < len(p.toks); i += 2 {
		if p.text(i) != "," || !p.own(i+1) {
			return false
		}
	}
	return true
}

// mentionsOwn reports whether the account stands anywhere in quotes of its own.
func (p phrase) mentionsOwn() bool {
	for i := range p.toks {
		if p.own(i) {
			return true
		}
	}
	return false
}

func (p phrase) raw() string { return p.src[p.toks[0].start:p.toks[len(p.toks)-1].end] }

// isRole reports whether a keyword names the kind of object that roles are.
func isRole(word string) bool { return word == "ROLE" || word == "USER" || word == "GROUP" }

// aboutRole reports whether a statement begins with the verb and ROLE, USER or
// GROUP. User mappings are another thing.
func (p phrase) aboutRole(verb string) bool {
	return p.word(0) == verb && isRole(p.word(1)) && p.word(2) != "MAPPING"
}

// exactly reports whether the variable is all that stands between the quotes.
func (t token) exactly(v Variable) bool {
	return len(t.refs) == 1 && t.refs[0].variable == v && t.refs[0].start == t.bodyStart && t.refs[0].end == t.bodyEnd
}

// upper folds ASCII only, as PostgreSQL does with keywords: elsewhere folding
// would make an I of a dotless ı.
func upper(s string) string {
	return strings.Map(func(r rune) rune {
		if 'a' <= r && r <= 'z' {
			return r - 'a' + 'A'
		}
		return r
	}, s)
}

// mentions reports whether one of the upper-case words stands anywhere in the
// text, quotes or not.
func mentions(text string, words ...string) bool {
	for w := range strings.FieldsFuncSeq(text, notInWord) {
		if slices.Contains(words, upper(w)) {
			return true
		}
	}
	return false
}

func notInWord(r rune) bool {
	return r < 0x80 && r != '_' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
}
