package sqltext

import "strings"

// Ident quotes a name as an identifier. A NUL, which no name in PostgreSQL
// has, becomes U+FFFD, so that the result never names another object than s.
func Ident(s string) string {
	return `"` + strings.ReplaceAll(noNUL(s), `"`, `""`) + `"`
}

// Literal quotes a value as a string literal that means s whether
// standard_conforming_strings is on or off. A NUL, which no text in PostgreSQL
// has, becomes U+FFFD.
func Literal(s string) string {
	s = strings.ReplaceAll(noNUL(s), `'`, `''`)
	if !strings.Contains(s, `\`) {
		return `'` + s + `'`
	}
	// The space keeps the E apart from a word that may stand before it.
	return ` E'` + strings.ReplaceAll(s, `\`, `\\`) + `'`
}

func noNUL(s string) string { return strings.ReplaceAll(s, "\x00", "\uFFFD") }
