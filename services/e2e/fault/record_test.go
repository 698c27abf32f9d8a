//go:build e2e

package fault

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/curfew-project/curfew/services/internal/faults"
)

// entry is one line of the record, as the API shows it.
type entry struct {
	Epoch, Number int64
	Type          string
	Subject       string
	Time          time.Time
	Version       int64
	Actor, Reason string
	Data          struct {
		Kind, State, Account, Role string
		DueAt                      *time.Time `json:"due_at"`
		DisabledAt                 *time.Time `json:"disabled_at"`
		EndedAt                    *time.Time `json:"ended_at"`
	}
}

// id is the event's id.
func (e *entry) id() string { return fmt.Sprintf("%d-%d", e.Epoch, e.Number) }

// record is what was read of the record so far: all of it, from the first entry.
type record struct {
	last    entry
	entries int
	leases  map[string]*history // by lease id
	judged  map[string]bool     // leases that ended lawfully, and were looked at
	rewound bool                // the store has lost commits (A7)
}

// history is what the record says of one lease, oldest first.
type history []entry

func (h history) last() *entry  { return &h[len(h)-1] }
func (h history) state() string { return h.last().Data.State }

// types are those of the entries, without "lease." and "token.".
func (h history) types() string {
	out := make([]string, len(h))
	for i, e := range h {
		_, out[i], _ = strings.Cut(e.Type, ".")
	}
	return strings.Join(out, " ")
}

// legal is the life of the lease of an account (A1): it ends once and then
// nothing follows. One that was rolled back never was active.
var legal = regexp.MustCompile(`^intent( created( renewed)*)?( revoking( progress| revocation_failed)*( revoked| rolled_back| abandoned)?)?$`)

// restored is the type of an entry about a lease that was brought back into a
// store that had lost commits.
const restored = "lease.restored"

// again is the life of a lease from there on: it is taken away once more where it
// had ended (A7).
var again = regexp.MustCompile(`^( created)?( renewed)*( revoking)?( progress| revocation_failed)*( revoked| rolled_back| abandoned)?$`)

// lawful reports whether the entries may follow each other.
func (h history) lawful() bool {
	lives := strings.Split(" "+h.types(), " restored") // the first one before any recovery
	if !legal.MatchString(strings.TrimPrefix(lives[0], " ")) {
		return false
	}
	return !slices.ContainsFunc(lives[1:], func(l string) bool { return !again.MatchString(l) })
}

// repeats reports whether e is on record already, in an earlier epoch: what a
// store that had lost commits and the ledger had under different numbers is told
// again (A7).
func (h history) repeats(e *entry) bool {
	return slices.ContainsFunc(h, func(had entry) bool {
		return had.Epoch < e.Epoch && had.Version == e.Version && had.Type == e.Type && had.Time.Equal(e.Time)
	})
}

// read takes what the record has beyond what was read before.
func (w *world) read(tb testing.TB, f *finding) error {
	tb.Helper()
	const page = 10_000
	for r := &w.record; ; {
		query := url.Values{"limit": {fmt.Sprint(page)}}
		if r.entries > 0 {
			query.Set("after", r.last.id())
		}
		body, err := w.get(tb, "/v1/audit/entries?"+query.Encode())
		if err != nil {
			return err
		}
		var got struct{ Data struct{ Entries []entry } }
		if err := json.Unmarshal(body, &got); err != nil {
			return err
		}
		for _, e := range got.Data.Entries {
			r.add(e, f)
		}
		if len(got.Data.Entries) < page {
			return nil
		}
	}
}

// get reads a path of the API as an operator does.
func (w *world) get(tb testing.TB, path string) ([]byte, error) {
	tb.Helper()
	req, err := http.NewRequestWithContext(tb.Context(), http.MethodGet, w.form.url()+path, http.NoBody)
	if err != nil {
		return nil, err
	}
	req.Header.Set("X-Vault-Token", w.root)
	res, err := (&http.Client{Timeout: hang}).Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }() // it was read
	body, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("GET %s: %s: %s", path, res.Status, body)
	}
	return body, err
}

// add takes one entry; the record is dense (D3).
func (r *record) add(e entry, f *finding) {
	switch {
	case e.Epoch == max(1, r.last.Epoch) && e.Number == r.last.Number+1:
	case r.rewound && e.Epoch > r.last.Epoch && e.Number == 1:
	case e.Epoch == r.last.Epoch && e.Number <= r.last.Number:
		f.add(faults.Harm{Doubled: 1}, fmt.Sprintf("after entry %s the record has %s (%s) again", r.last.id(), e.id(), e.Type))
	default:
		f.add(faults.Harm{Lost: 1}, fmt.Sprintf("after entry %s the record has %s (%s)", r.last.id(), e.id(), e.Type))
	}
	r.last = e
	r.entries++
	if e.Data.Kind == "" {
		return
	}
	h := r.leases[e.Subject]
	if h == nil {
		h = &history{}
		r.leases[e.Subject] = h
	}
	if h.repeats(&e) {
		return
	}
	*h = append(*h, e)
}

// judge looks at the entries of each lease: complete, none twice, in a legal
// order, and none that ended by its time before it.
func (r *record) judge(remade map[string]bool, f *finding) {
	if r.judged == nil {
		r.judged = map[string]bool{}
	}
	// Who gives a revocation up leaves the account to be found: that is no harm.
	left := maps.Clone(remade)
	for _, h := range r.leases {
		if h.state() == "abandoned" {
			left[h.last().Data.Account] = true
		}
	}
	for id, h := range r.leases {
		last := h.last()
		if r.judged[id] {
			if n := h.closed(); n < len(*h) && (*h)[n].Type == restored && h.lawful() {
				r.judged[id] = slices.Contains(finals, h.state())
			} else if n < len(*h) {
				f.add(faults.Harm{Doubled: 1}, fmt.Sprintf("lease %s goes on after its end: %s", id, h.types()))
			}
			continue
		}
		h.complete(id, f)
		switch {
		case last.Data.Kind == "stray" && !left[last.Data.Account]:
			f.add(faults.Harm{Strays: 1}, fmt.Sprintf("account %s was found without a lease", last.Data.Account))
		case last.Data.Kind == "secret" && !h.lawful():
			f.add(faults.Harm{Doubled: 1}, fmt.Sprintf("lease %s went an illegal way: %s", id, h.types()))
		}
		if d := last.Data; last.Reason == "lease expired" && d.DueAt != nil && d.DisabledAt != nil && d.DisabledAt.Before(*d.DueAt) {
			f.add(faults.Harm{Early: 1}, fmt.Sprintf("lease %s was disabled %v early", id, d.DueAt.Sub(*d.DisabledAt)))
		}
		r.judged[id] = slices.Contains(finals, h.state())
	}
}

var finals = []string{"revoked", "expired", "abandoned"}

// closed is the number of entries up to the first that ended the lease.
func (h history) closed() int {
	i := slices.IndexFunc(h, func(e entry) bool { return slices.Contains(finals, e.Data.State) })
	return i + 1
}

// complete: the versions of a lease are dense.
func (h history) complete(id string, f *finding) {
	want := int64(1)
	for _, e := range h {
		switch {
		case e.Type == restored && e.Version >= want-1: // it was brought back as it is
		case e.Version > want:
			f.add(faults.Harm{Lost: 1}, fmt.Sprintf("lease %s: %s has version %d, want %d (%s)", id, e.Type, e.Version, want, h.types()))
			return
		case e.Version < want:
			f.add(faults.Harm{Doubled: 1}, fmt.Sprintf("lease %s: %s has version %d again (%s)", id, e.Type, e.Version, h.types()))
			return
		}
		want = e.Version + 1
	}
}

// accounts are the leases of accounts by the state that the record has of them:
// live ones by account, and those that are on their way.
func (r *record) accounts() (active, open map[string]string) {
	active, open = map[string]string{}, map[string]string{}
	for id, h := range r.leases {
		d := h.last().Data
		if d.Kind == "token" {
			continue
		}
		switch d.State {
		case "active":
			active[d.Account] = id
		case "intent", "revoking":
			open[d.Account] = id
		}
	}
	return active, open
}

// count is how many leases of accounts are on record.
func (r *record) count() (n int) {
	for _, h := range r.leases {
		if h.last().Data.Kind == "secret" {
			n++
		}
	}
	return n
}
