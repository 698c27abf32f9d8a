//go:build e2e

package e2e

import (
	"regexp"
	"strings"
)

// difference is one way in which Curfew answers otherwise than the recordings,
// on purpose. Each entry has to occur when the recordings are replayed.
type difference struct {
	// step is a step's name, at the place in the answer; a star in either
	// stands for any text. exchange counts from 1; 0 is all of the step.
	step     string
	exchange int
	at       string
	// ours is a regular expression for the whole of what Curfew answers there,
	// as JSON; "none" where it answers nothing.
	ours   string
	reason string
}

// allowed are the entries that a mismatch falls under.
func allowed(list []difference, m mismatch) []int {
	var out []int
	for i, d := range list {
		if stars(d.step).MatchString(m.step) && (d.exchange == 0 || d.exchange == m.exchange) &&
			stars(d.at).MatchString(m.at) && regexp.MustCompile(`^(?s:`+d.ours+`)$`).MatchString(m.got) {
			out = append(out, i)
		}
	}
	return out
}

func stars(pattern string) *regexp.Regexp {
	return regexp.MustCompile(`^` + strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*`, `.*`) + `$`)
}

// intended is the one list of intended differences.
func intended() []difference {
	return []difference{}
}
