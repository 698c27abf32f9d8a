package redis

import (
	"strconv"
	"strings"
	"time"

	"github.com/curfew-project/curfew/shared/expiry"
	"github.com/curfew-project/curfew/shared/lease"
)

// The part of a key in braces decides its slot: all keys of a target are in one,
// and so are those of the registry.

// registryTag is no target's: there a percent sign is followed by two digits.
const registryTag = "%targets"

// tag writes a target so that no brace of its own ends the tag, and none is
// empty, which Redis would not take for a tag.
func tag(target string) string {
	if target == "" {
		return "%"
	}
	return strings.NewReplacer("%", "%25", "{", "%7B", "}", "%7D").Replace(target)
}

func (x *Index) targetKeys(target string) []string {
	p := x.prefix + "{" + tag(target) + "}:"
	return []string{p + "due", p + "flight", p + "claims", p + "held"}
}

func (x *Index) registryKeys() []string {
	p := x.prefix + "{" + registryTag + "}:"
	return []string{p + "at", p + "flying", p + "stamps"}
}

// exact is the largest number up to which every whole one is a double. Times
// beyond it, in the year 2255 or before 1684, are taken for the last or first.
const exact = 1<<53 - 1

// dueScore is a due time, rounded up: nothing is claimed before its time.
func dueScore(t time.Time) string { return nowScore(t.Add(time.Microsecond - 1)) }

// nowScore is the present, rounded down.
func nowScore(t time.Time) string {
	switch {
	case t.Before(time.UnixMicro(-exact)):
		return score(-exact)
	case t.After(time.UnixMicro(exact)):
		return score(exact)
	}
	return score(t.UnixMicro())
}

func score(v int64) string { return strconv.FormatInt(v, 10) }

// none is the earliest time of a target that has nothing due.
const none = "inf"

func parseScore(s string) (time.Time, error) {
	v, err := strconv.ParseInt(s, 10, 64)
	return time.UnixMicro(v), err
}

// pairs are times and ids as the scripts take them.
func pairs(members []expiry.Member) []any {
	out := make([]any, 0, 2*len(members))
	for _, m := range members {
		out = append(out, dueScore(m.At), string(m.ID))
	}
	return out
}

// members reads what a script returned: ids and times in turn.
func members(target string, flat []any) ([]expiry.Member, error) {
	out := make([]expiry.Member, 0, len(flat)/2)
	for i := 0; i+1 < len(flat); i += 2 {
		id, err := text(flat[i])
		if err != nil {
			return nil, err
		}
		s, err := text(flat[i+1])
		if err != nil {
			return nil, err
		}
		at, err := parseScore(s)
		if err != nil {
			return nil, err
		}
		out = append(out, expiry.Member{ID: lease.ID(id), Target: target, At: at})
	}
	return out, nil
}
