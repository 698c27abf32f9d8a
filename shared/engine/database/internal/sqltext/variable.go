package sqltext

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// Variable is what a statement can ask for.
type Variable uint8

const (
	// Name is the account: {{name}} or {{username}}.
	Name Variable = iota + 1
	// Password is the account's password, or its verifier.
	Password
	// Expiration is the time at which the account's lease ends.
	Expiration
)

// String returns the variable as it is written.
func (v Variable) String() string {
	switch v {
	case Name:
		return "{{name}}"
	case Password:
		return "{{password}}"
	case Expiration:
		return "{{expiration}}"
	}
	return "{{}}"
}

// Vars are the values that [Statement.Render] puts in. It hides the password
// when printed.
type Vars struct {
	Name       string
	Password   string `json:"-"`
	Expiration string
}

// Format prints the name only, whatever the verb.
func (v Vars) Format(f fmt.State, _ rune) {
	_, _ = io.WriteString(f, "variables of "+v.Name) // a State keeps its own errors
}

// value returns the value of a variable, or the reason why it cannot be used.
func (v Vars) value(of Variable) (value, reason string) {
	switch of {
	case Name:
		value = v.Name
	case Password:
		value = v.Password
	case Expiration:
		value = v.Expiration
	}
	switch {
	case value == "":
		return "", "there is no value for " + of.String()
	case strings.ContainsRune(value, 0):
		return "", "the value of " + of.String() + " holds a NUL"
	case !utf8.ValidString(value):
		return "", "the value of " + of.String() + " is not UTF-8"
	}
	return value, ""
}

// ref is a variable in the source, braces included.
type ref struct {
	start, end int
	variable   Variable
}

// maxVariable bounds how much of an unknown variable's name an error repeats.
const maxVariable = 32

// readRef reads the variable that begins at start. Two braces that no name
// follows are no variable: literals of arrays have them.
func readRef(src string, start, end int) (ref, bool, error) {
	if !strings.HasPrefix(src[start:end], "{{") {
		return ref{}, false, nil
	}
	i := start + 2
	for i < end && isSpace(src[i]) {
		i++
	}
	first := i
	for i < end && (isWordPart(src[i]) || src[i] == '.') {
		i++
	}
	name := src[first:i]
	if name == "" || isDigit(name[0]) {
		return ref{}, false, nil
	}
	for i < end && isSpace(src[i]) {
		i++
	}
	if !strings.HasPrefix(src[i:end], "}}") {
		return ref{}, false, &lexError{start, "{{ begins a variable that }} does not end (arrays are written as ARRAY[…])"}
	}
	r := ref{start: start, end: i + 2}
	switch name {
	case "name", "username":
		r.variable = Name
	case "password":
		r.variable = Password
	case "expiration":
		r.variable = Expiration
	default:
		if len(name) > maxVariable {
			name = strings.ToValidUTF8(name[:maxVariable], "") + "…"
		}
		return ref{}, false, &lexError{start, "unknown variable {{" + name +
			"}}; there are {{name}}, {{username}}, {{password}} and {{expiration}}"}
	}
	return r, true, nil
}

// readRefs reads the variables between start and end, which lie inside quotes.
// Where backslashes escape, one must not reach into a variable's value.
func readRefs(src string, start, end int, backslashes bool) ([]ref, error) {
	var refs []ref
	open := -1 // where an escape of digits ends that more digits would extend
	for i := start; i < end; {
		if backslashes && src[i] == '\\' {
			i++
			if strings.HasPrefix(src[i:end], "{{") {
				return nil, &lexError{i - 1, "a backslash stands before a variable"}
			}
			if digits := numericEscape(src[i:end]); digits > 0 {
				i += digits
				open = i
			} else {
				i++
			}
			continue
		}
		r, found, err := readRef(src, i, end)
		if err != nil {
			return nil, err
		}
		if !found {
			i++
			continue
		}
		if r.start == open {
			return nil, &lexError{i, "an escape of digits stands before a variable"}
		}
		refs = append(refs, r)
		i = r.end
	}
	return refs, nil
}

// numericEscape returns the length of an octal, hexadecimal or Unicode escape
// with all the digits that follow it, even those beyond its end.
func numericEscape(s string) int {
	if s == "" || !strings.ContainsRune("01234567xuU", rune(s[0])) {
		return 0
	}
	n := 1
	for n < len(s) && strings.ContainsRune("0123456789abcdefABCDEF", rune(s[n])) {
		n++
	}
	return n
}
