//go:build e2e

package fleet

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// entry is one line of the record, as the API shows it.
type entry struct {
	Epoch, Number int64
	Type          string
	Time          time.Time
	Subject       string
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
	leases  map[string]*history // of accounts, by lease id
	// What only a store that lost commits explains (A7): further epochs, and
	// accounts without a lease.
	rewound bool
	strays  map[string]bool
}

// history is what the record says of one lease, oldest first.
type history []entry

func (h history) last() *entry  { return &h[len(h)-1] }
func (h history) state() string { return h.last().Data.State }

// types are those of the entries, without "lease.".
func (h history) types() string {
	out := make([]string, len(h))
	for i, e := range h {
		out[i] = strings.TrimPrefix(e.Type, "lease.")
	}
	return strings.Join(out, " ")
}

// legal is the life of a lease (A1): revoked once and last. One that was rolled
// back never was active.
var legal = regexp.MustCompile(`^intent( created( renewed)*)?` +
	`( revoking( progress| revocation_failed)*( revoked| rolled_back)?)?$`)

// again is its life after a store that had lost commits learned of it: it is
// taken away once more where it had ended (A7).
var again = regexp.MustCompile(`^restored( created)?( renewed)*` +
	`( revoking)?( progress| revocation_failed)*( revoked| rolled_back)?$`)

// get reads a path of the API as an operator does.
func (f *fleet) get(tb testing.TB, path string) ([]byte, error) {
	tb.Helper()
	req, err := http.NewRequestWithContext(tb.Context(), http.MethodGet, f.URL+path, http.NoBody)
	if err != nil {
		return nil, err
	}
	req.Header.Set("X-Vault-Token", f.root)
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

// read takes what the record has beyond what was read before. An error may pass;
// what is not dense ends the test (D3).
func (f *fleet) read(tb testing.TB) error {
	tb.Helper()
	r := &f.record
	for {
		query := url.Values{"limit": {"10000"}}
		if r.entries > 0 {
			query.Set("after", r.last.id())
		}
		body, err := f.get(tb, "/v1/audit/entries?"+query.Encode())
		if err != nil {
			return err
		}
		var page struct{ Data struct{ Entries []entry } }
		if err := json.Unmarshal(body, &page); err != nil {
			return err
		}
		for _, e := range page.Data.Entries {
			r.add(tb, e)
		}
		if len(page.Data.Entries) == 0 || len(page.Data.Entries) < 10_000 {
			return nil
		}
	}
}

func (r *record) add(tb testing.TB, e entry) {
	tb.Helper()
	next := e.Epoch == r.last.Epoch && e.Number == r.last.Number+1
	begins := (e.Epoch == 1 || r.rewound) && e.Epoch > r.last.Epoch && e.Number == 1
	if !next && !begins {
		tb.Fatalf("after entry %s the record has %s (%s)", r.last.id(), e.id(), e.Type)
	}
	r.last = e
	r.entries++
	if e.Data.Kind == "" || e.Data.Kind == "token" {
		return
	}
	if r.leases == nil {
		r.leases = map[string]*history{}
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

// repeats reports whether e is in the record already, in an earlier epoch: what
// store and ledger had under different numbers is told again (A7).
func (h history) repeats(e *entry) bool {
	return slices.ContainsFunc(h, func(had entry) bool {
		return had.Epoch < e.Epoch && had.Version == e.Version && had.Type == e.Type && had.Time.Equal(e.Time)
	})
}

// lawful fails for each lease whose entries are not complete and legal.
func (r *record) lawful(tb testing.TB) {
	tb.Helper()
	for id, h := range r.leases {
		var version int64
		for _, e := range *h {
			// What only the stream had was restored, and is not on record.
			if e.Version != version+1 && (e.Type != restored || e.Version < version) {
				tb.Errorf("lease %s: %s has version %d after %d (%s)", id, e.Type, e.Version, version, h.types())
				break
			}
			version = e.Version
		}
		if h.last().Data.Kind == "stray" {
			if account := h.last().Data.Account; !r.strays[account] {
				tb.Errorf("account %s was found without a lease", account)
			}
			continue
		}
		if !h.lawful() {
			tb.Errorf("lease %s went an illegal way: %s", id, h.types())
		}
	}
}

// restored is the type of an entry about a lease that was brought back.
const restored = "lease.restored"

// lawful reports whether the entries may follow each other.
func (h history) lawful() bool {
	if i := slices.IndexFunc(h, func(e entry) bool { return e.Type == restored }); i >= 0 {
		return (i == 0 || h[:i].lawful()) && again.MatchString(h[i:].types())
	}
	confirmed := len(h) > 1 && h[1].Type == "lease.created"
	ended := strings.HasSuffix(h.types(), " revoked")
	return legal.MatchString(h.types()) && (!ended || confirmed) && (!confirmed || !strings.HasSuffix(h.types(), "rolled_back"))
}

// active are the accounts of the leases that the record calls active, and those
// of leases that are on their way.
func (r *record) active() (active map[string]string, open []string) {
	active = map[string]string{}
	for id, h := range r.leases {
		switch h.state() {
		case "active":
			active[h.last().Data.Account] = id
		case "intent", "revoking":
			open = append(open, id+": "+h.types())
		}
	}
	return active, open
}
