package policy

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// RootName is the policy that allows everything; see [Root].
	RootName = "root"
	// DefaultName is the policy that tokens have unless they ask not to.
	DefaultName = "default"
	// wrappingName is what the lookup of a wrapping token shows.
	wrappingName = "response-wrapping"
)

const (
	// MaxSize bounds the text of a policy in bytes. It is what the most common
	// store of stock servers takes for one entry, so that theirs fit.
	MaxSize = 512 << 10
	// maxDepth bounds nesting; a policy needs five levels. The parsers recurse,
	// and one of them copies its error once for each level.
	maxDepth = 16
	maxName  = 256
)

// Policy is a named set of rules.
type Policy struct {
	Name string
	Text string // as it was written
	// rules are in the order of the text; a pattern may be there twice.
	rules []rule
	root  bool
}

// Root gives the policy that allows everything. It has no text and there is no
// other way to one.
func Root() *Policy { return &Policy{Name: RootName, root: true} }

// Parse reads a policy in HCL or, where it begins with a brace, in JSON. The
// name is made lower case. The text of an error is meant for whoever wrote the
// policy.
func Parse(name, text string) (*Policy, error) {
	name, err := Name(name)
	if err != nil {
		return nil, err
	}
	rules, err := parse(text)
	if err != nil {
		return nil, fmt.Errorf("failed to parse policy: %s", cut(err.Error()))
	}
	return &Policy{Name: name, Text: text, rules: rules}, nil
}

// Name gives the name under which a policy is kept: lower case, as stock
// servers have it. The names of built-in policies that nobody can write, and
// names that could not be told apart in a list or a log, are refused.
func Name(name string) (string, error) {
	valid := utf8.ValidString(name) // lower case would mend it
	name = strings.ToLower(name)
	switch {
	case name == RootName || name == wrappingName:
		return "", fmt.Errorf("cannot update %q policy", name)
	case name == "":
		return "", errors.New("the policy has no name")
	case len(name) > maxName:
		return "", fmt.Errorf("the name of the policy is longer than %d bytes", maxName)
	case !valid || strings.ContainsFunc(name, unprintable):
		return "", fmt.Errorf("policy name %q has a character that cannot be shown", name)
	case strings.ContainsAny(name, ",\\") || strings.TrimSpace(name) != name:
		return "", fmt.Errorf("policy name %q has a comma, a backslash or a space at its end", name)
	}
	return name, nil
}

func unprintable(r rune) bool { return !unicode.IsPrint(r) }

// parse turns the panic of a library on text that it did not foresee into an
// error; nothing of it is kept.
func parse(text string) (rules []rule, err error) {
	defer func() {
		if recover() != nil {
			rules, err = nil, errors.New("the text cannot be read as HCL")
		}
	}()
	switch {
	case len(text) > MaxSize:
		return nil, fmt.Errorf("the policy has %d bytes, at most %d are read", len(text), MaxSize)
	case !utf8.ValidString(text):
		return nil, errors.New("the policy is not UTF-8")
	}
	read := readHCL
	if strings.HasPrefix(strings.TrimLeftFunc(text, unicode.IsSpace), "{") {
		read = readJSON
	}
	tree, err := read(text)
	if err != nil {
		return nil, err
	}
	return readRules(tree)
}

// cut bounds a message that quotes the text at fault.
func cut(message string) string {
	const most = 512
	if len(message) <= most {
		return message
	}
	return strings.ToValidUTF8(message[:most], "") + "…"
}
