package sqltext

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Error says why statements are refused. Its text is meant for the person who
// wrote them and holds none of their literals, identifiers or values.
type Error struct {
	// Kind is what the statements are for.
	Kind Kind
	// Statement counts from 1 across all texts; 0 when no single statement is at
	// fault.
	Statement int
	// Head is the statement's first keywords, or empty.
	Head string
	// Line and Column count from 1 within the text that holds the statement,
	// columns in characters; 0 when no place is at fault.
	Line, Column int
	// Reason is what is wrong, and where it helps what to do instead.
	Reason string
}

// Error implements error.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Kind.String())
	if e.Statement > 0 {
		fmt.Fprintf(&b, ": statement %d", e.Statement)
	}
	if e.Head != "" {
		fmt.Fprintf(&b, " (%s)", e.Head)
	}
	if e.Line > 0 {
		fmt.Fprintf(&b, ", line %d, column %d", e.Line, e.Column)
	}
	return b.String() + ": " + e.Reason
}

// lexError is a reason with the offset in the text at which it holds.
type lexError struct {
	pos    int
	reason string
}

func (e *lexError) Error() string { return e.reason }

// place returns line and column of an offset.
func place(text string, pos int) (line, column int) {
	before := text[:min(pos, len(text))]
	start := strings.LastIndexByte(before, '\n') + 1
	return strings.Count(before, "\n") + 1, utf8.RuneCountInString(before[start:]) + 1
}
