package engine

import "strings"

// Help explains one path to a person.
type Help struct {
	// Path is the path below the mount; an element in angle brackets stands for
	// any one element ("creds/<role>"), and "…" for one or more. The empty path
	// is the mount itself.
	Path string
	// Synopsis says in a sentence what is there.
	Synopsis string
	// Text is the rest: what may be sent, what follows. It may be empty.
	Text string
}

// Helper is the optional ability of what serves paths to explain them; see
// enginetest.CheckHelp for the law that it leaves none out.
type Helper interface {
	// Help explains every path that is served, the mount itself first.
	Help() []Help
}

// Matches reports whether path is one of those that h explains.
func (h *Help) Matches(path string) bool {
	if h.Path == "" || path == "" {
		return h.Path == path
	}
	have := strings.Split(path, "/")
	want := strings.Split(h.Path, "/")
	for i, element := range want {
		switch {
		case element == "…":
			rest := len(want) - i - 1 // elements after it
			if len(have)-i <= rest {
				return false
			}
			have = append(have[:i:i], have[len(have)-rest-1:]...)
		case i >= len(have):
			return false
		case element != have[i] && (!strings.HasPrefix(element, "<") || have[i] == ""):
			return false
		}
	}
	return len(have) == len(want)
}

// FindHelp is the first of all that explains path.
func FindHelp(all []Help, path string) (Help, bool) {
	for i := range all {
		if all[i].Matches(path) {
			return all[i], true
		}
	}
	return Help{}, false
}
