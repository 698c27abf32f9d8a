package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/curfew-project/curfew/shared/lease"
)

// ErrQuota refuses the beginning of a lease for which its quota has no room.
var ErrQuota = errors.New("lease count quota exceeded")

// QuotaError is an [ErrQuota] with what it is about.
type QuotaError struct {
	Name string // of the quota
	Path string // of the request
}

// Error implements error.
func (e *QuotaError) Error() string { return fmt.Sprintf("%v: quota %q", ErrQuota, e.Name) }

// Unwrap is [ErrQuota].
func (*QuotaError) Unwrap() error { return ErrQuota }

// Quota bounds how many leases live below a path. It is an entry of
// [KindLeaseQuota] whose value is [Quota.Encode]; the store goes by what is
// there when the beginning of a lease commits, and by a count that it keeps with
// every transition. Of several whose paths a lease's id begins with, the longest
// governs it: the lease counts there and in no other.
//
// Counted is every secret that has not ended, parked ones too, since its account
// may be there; and every token that expires. Root tokens that never do are not,
// so that no quota locks a person out who holds one, nor are strays. A quota
// refuses beginnings only: what is restored (A7) or was there before the quota
// may be more than it allows.
type Quota struct {
	Name   string // ID of the entry
	Path   string // of lease ids: "", or with a trailing slash
	Max    int64
	Living int64 // how many live below Path, other quotas' included
}

// QuotaKey is the key of the entry of a quota for path.
func QuotaKey(path string) string { return "/" + path }

// QuotaValue is the value of the entry of a quota.
func QuotaValue(most int64) ([]byte, error) {
	value, err := json.Marshal(quotaValue{most})
	if err != nil {
		return nil, fmt.Errorf("encode quota: %w", err)
	}
	return value, nil
}

type quotaValue struct {
	MaxLeases int64 `json:"max_leases"`
}

// DecodeQuota is the quota that an entry is, without what lives below it.
func DecodeQuota(e Entry) (Quota, error) {
	var v quotaValue
	if err := json.Unmarshal(e.Value, &v); err != nil {
		return Quota{}, fmt.Errorf("decode quota %q: %w", e.ID, err)
	}
	return Quota{Name: e.ID, Path: strings.TrimPrefix(e.Key, "/"), Max: v.MaxLeases}, nil
}

// Counted reports whether a lease counts for quotas.
func Counted(l *lease.Lease) bool {
	if l.State == "" || l.State.Final() {
		return false
	}
	return l.Kind == lease.Secret || l.Kind == lease.Token && l.TTL > 0
}

// Prefixes are the paths that an id lies below: "", "database/",
// "database/creds/", …
func Prefixes(id lease.ID) []string {
	all := []string{""}
	for i, c := range []byte(id) {
		if c == '/' {
			all = append(all, string(id[:i+1]))
		}
	}
	return all
}

// Miscount is a path below which another number of leases lives than is kept:
// programs of an older version, which did not count, have changed leases there.
type Miscount struct {
	Path         string
	Kept, Living int64
}

// Miscounted compares what is kept with what lives, by path, and returns what
// differs, in order.
func Miscounted(kept map[string]int64, living *Tally) (all []Miscount) {
	paths := maps.Clone(kept)
	if paths == nil {
		paths = map[string]int64{}
	}
	maps.Copy(paths, living.by)
	for _, p := range slices.Sorted(maps.Keys(paths)) {
		if m := (Miscount{Path: p, Kept: kept[p], Living: living.by[p]}); m.Kept != m.Living {
			all = append(all, m)
		}
	}
	return all
}

// Mend adds what a recount found missing, once: counts may have gone on since.
func (t *Tally) Mend(found []Miscount) {
	if t.by == nil {
		t.by = map[string]int64{}
	}
	for _, m := range found {
		t.by[m.Path] += m.Living - m.Kept
	}
}

// Count counts a lease that lives.
func (t *Tally) Count(id lease.ID) {
	if t.by == nil {
		t.by = map[string]int64{}
	}
	for _, p := range Prefixes(id) {
		t.by[p]++
	}
}

// Tally is what one commit adds to the counts of living leases, by the paths
// that they lie below. The zero value is empty.
type Tally struct{ by map[string]int64 }

// Add counts a transition.
func (t *Tally) Add(before, after *lease.Lease) {
	was, is := Counted(before), Counted(after)
	if was == is {
		return
	}
	if t.by == nil {
		t.by = map[string]int64{}
	}
	change := int64(1)
	if was {
		change = -1
	}
	for _, p := range Prefixes(after.ID) {
		t.by[p] += change
	}
}

// Of is what is added below path.
func (t *Tally) Of(path string) int64 { return t.by[path] }

// Each are the paths whose counts change, in order, and by how much.
func (t *Tally) Each() (paths []string, by []int64) {
	for _, p := range slices.Sorted(maps.Keys(t.by)) {
		if n := t.by[p]; n != 0 {
			paths, by = append(paths, p), append(by, n)
		}
	}
	return paths, by
}

// Full names the quota that has no room for id, "" where there is room. All are
// the quotas in force with what lived below them when the commit began.
func (t *Tally) Full(all []Quota, id lease.ID) string {
	governs := -1
	for i := range all {
		if strings.HasPrefix(string(id), all[i].Path) && (governs < 0 || len(all[i].Path) > len(all[governs].Path)) {
			governs = i
		}
	}
	if governs < 0 {
		return ""
	}
	if t.Used(all, &all[governs]) < all[governs].Max {
		return ""
	}
	return all[governs].Name
}

// Used is how many leases q governs, which is one of all.
func (t *Tally) Used(all []Quota, q *Quota) int64 {
	n := q.Living + t.Of(q.Path)
	for i := range all {
		if below(all, q.Path, all[i].Path) {
			n -= all[i].Living + t.Of(all[i].Path)
		}
	}
	return n
}

// below reports whether path is one of the next quotas below outer.
func below(all []Quota, outer, path string) bool {
	if len(path) <= len(outer) || !strings.HasPrefix(path, outer) {
		return false
	}
	for i := range all {
		between := all[i].Path
		if len(between) > len(outer) && len(between) < len(path) && strings.HasPrefix(path, between) {
			return false
		}
	}
	return true
}
