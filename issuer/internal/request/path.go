package request

import (
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/curfew-project/curfew/issuer/internal/wire"
)

// Root begins the path of every URL of the API.
const Root = "/v1/"

// maxPath bounds a path: longer than any lease id.
const maxPath = 2048

// Path gives the part of u's path below [Root], without a slash at its end. An
// escaped slash is a slash, as stock servers have it: some clients escape the
// lease id that they put behind sys/leases/revoke. Policies and record are about
// what this returns, so nothing is checked as one element and read as two; who
// filters paths in front of the server has to decode them first.
func Path(u *url.URL) (string, error) {
	path := strings.TrimSuffix(strings.TrimPrefix(u.Path, Root), "/")
	return path, check(path)
}

func check(path string) error {
	switch {
	case path == "":
		return wire.Nothing()
	case len(path) > maxPath:
		return wire.Invalid("the path is longer than %d bytes", maxPath)
	case !utf8.ValidString(path):
		return wire.Invalid("the path is not UTF-8")
	case strings.ContainsFunc(path, func(r rune) bool { return unicode.IsControl(r) || r == '\\' }):
		return wire.Invalid("the path has a control character or a backslash")
	}
	for element := range strings.SplitSeq(path, "/") {
		switch element {
		case "":
			return wire.Invalid("the path has an empty element")
		case ".", "..":
			return wire.Invalid("the path has an element %q", element)
		}
	}
	return nil
}

// Loggable is path without what looks like a token: some clients put one into
// the URL, where it would reach log and record.
func Loggable(path string) string {
	elements := strings.Split(path, "/")
	for i, e := range elements {
		kind, rest, ok := strings.Cut(e, ".")
		if !ok || len(rest) < 8 {
			continue
		}
		switch kind {
		case "hvs", "hvb", "hvr", "s", "b", "r":
			elements[i] = kind + ".[redacted]"
		}
	}
	return strings.Join(elements, "/")
}
