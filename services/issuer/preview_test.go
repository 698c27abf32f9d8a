package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"pgregory.net/rapid"

	"github.com/curfew-project/curfew/issuer"
	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/secret"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/store/sqlite"
)

// openSeal is a seal that is open; what else there is to a seal, or to a sealer,
// nobody asks for.
type openSeal struct{ issuer.Seal }

type noSealer struct{ issuer.Sealer }

func (openSeal) Guard() []store.Ref { return nil }

func (openSeal) Status(context.Context) (issuer.SealStatus, error) {
	return issuer.SealStatus{Type: "file", Initialized: true}, nil
}

func (openSeal) Initialize(context.Context, issuer.InitRequest) (issuer.InitResult, error) {
	return issuer.InitResult{}, issuer.ErrInitialized
}

func (openSeal) Derive(purpose string) ([]byte, error) { return []byte("key of " + purpose), nil }

// api is an issuer's, without engines, over a store.
type api struct {
	store store.Store
	url   string
	root  string
}

func newAPI(t *testing.T, s store.Store) *api {
	t.Helper()
	i, err := issuer.New(issuer.Deps{Store: s, Seal: openSeal{}, Keys: openSeal{}, Sealer: noSealer{}, Clock: clock.System{}, Log: zerolog.Nop()}, issuer.Config{})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(i.Handler())
	t.Cleanup(server.Close)
	root, err := i.RootToken(t.Context(), secret.Value{}, lease.System("system:test"))
	if err != nil {
		t.Fatal(err)
	}
	return &api{s, server.URL + "/v1/", root.Reveal()}
}

// failer is what the law needs of a test; rapid's has it too.
type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

// do sends a request and reads the answer's data into into, where there is one.
func (a *api) do(t failer, method, path, body string, want int, into any) http.Header {
	t.Helper()
	q, err := http.NewRequestWithContext(context.Background(), method, a.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatalf("%v", err)
	}
	q.Header.Set("X-Vault-Token", a.root)
	r, err := http.DefaultClient.Do(q)
	if err != nil {
		t.Fatalf("%v", err)
	}
	defer r.Body.Close()
	if r.StatusCode != want {
		t.Fatalf("%s %s: %d, want %d", method, path, r.StatusCode, want)
	}
	if into != nil {
		answer := struct{ Data any }{into}
		if err := json.NewDecoder(r.Body).Decode(&answer); err != nil {
			t.Fatalf("%s %s: %v", method, path, err)
		}
	}
	return r.Header
}

// previewed is what the law reads of a preview.
type previewed struct {
	Total, Revoking int
	Tokens          int
	Roles           []struct {
		Path  string
		Count int
	}
	Owners []struct {
		Accessor string
		Count    int
	}
	Oldest   time.Time `json:"oldest_issue_time"`
	Newest   time.Time `json:"newest_issue_time"`
	Earliest time.Time `json:"earliest_expire_time"`
	Latest   time.Time `json:"latest_expire_time"`
	Forever  int       `json:"never_expire"`
}

// wish is a lease to be there.
type wish struct {
	path    string
	state   lease.State
	kind    lease.Kind
	owner   string
	forever bool
}

// begin makes the leases of wishes below root.
func (a *api) begin(t failer, root string, wishes []wish) {
	t.Helper()
	step := func(making func(w wish, id lease.ID) lease.Action, ids []lease.ID, only func(wish) bool) {
		var items []store.Transition
		for i, w := range wishes {
			if only(w) {
				items = append(items, store.Transition{Change: lease.Change{
					ID: ids[i], Version: lease.AnyVersion, Key: lease.RandomBase62(8), By: lease.Actor{Name: w.owner, DisplayName: "of " + w.owner}, Do: making(w, ids[i]),
				}})
			}
		}
		for _, out := range a.store.Apply(context.Background(), items...) {
			if out.Err != nil {
				t.Fatalf("%v", out.Err)
			}
		}
	}
	ids := make([]lease.ID, len(wishes))
	for i, w := range wishes {
		ids[i] = lease.NewID(root + w.path)
	}
	step(func(w wish, _ lease.ID) lease.Action {
		l := lease.Lease{Kind: w.kind, TTL: time.Hour}
		if w.forever {
			l.TTL = 0
		}
		return lease.Begin{Grace: time.Hour, Lease: l}
	}, ids, func(wish) bool { return true })
	step(func(wish, lease.ID) lease.Action { return lease.Activate{} }, ids, func(w wish) bool {
		return w.kind == lease.Secret && w.state != lease.Intent
	})
	step(func(wish, lease.ID) lease.Action { return lease.Revoke{If: lease.Always} }, ids, func(w wish) bool {
		return w.state == lease.Revoking || w.state == lease.Revoked
	})
	step(func(wish, lease.ID) lease.Action { return lease.Finish{To: lease.Revoked} }, ids, func(w wish) bool { return w.state == lease.Revoked })
}

// taken is the preview that the leases make which an operation took.
func (a *api) taken(t failer, root, operation string) previewed {
	t.Helper()
	var p previewed
	roles, owners := map[string]int{}, map[string]int{}
	for after := lease.ID(""); ; {
		found, err := a.store.Find(context.Background(), store.Query{Prefix: root, States: []lease.State{lease.Revoking}, After: after, Limit: 100})
		if err != nil {
			t.Fatalf("%v", err)
		}
		for _, l := range found {
			after = l.ID
			if l.Revocation.By.RequestID != operation {
				continue
			}
			p.Total++
			if l.Kind == lease.Token {
				p.Tokens++
			}
			roles[l.ID.Path()]++
			owners[l.IssuedBy.Name]++
			p.Oldest, p.Newest = first(p.Oldest, l.IssuedAt), last(p.Newest, l.IssuedAt)
			p.Earliest, p.Latest = first(p.Earliest, l.ExpiresAt), last(p.Latest, l.ExpiresAt)
			if l.Confirmed() && l.ExpiresAt.IsZero() {
				p.Forever++
			}
		}
		if len(found) < 100 {
			break
		}
	}
	for path, n := range roles {
		p.Roles = append(p.Roles, struct {
			Path  string
			Count int
		}{path, n})
	}
	for name, n := range owners {
		p.Owners = append(p.Owners, struct {
			Accessor string
			Count    int
		}{name, n})
	}
	return p
}

func first(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

func last(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// shown is p in an order of its own.
func (p previewed) shown() string {
	roles, owners := []string{}, []string{}
	for _, r := range p.Roles {
		roles = append(roles, fmt.Sprint(r.Path, "=", r.Count))
	}
	for _, o := range p.Owners {
		owners = append(owners, fmt.Sprint(o.Accessor, "=", o.Count))
	}
	slices.Sort(roles)
	slices.Sort(owners)
	stamp := func(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }
	return fmt.Sprint(p.Total, p.Tokens, p.Forever, roles, owners, stamp(p.Oldest), stamp(p.Newest), stamp(p.Earliest), stamp(p.Latest))
}

// revocation checks the law for one prefix (A4): the preview counts exactly the
// leases that revoking the prefix then takes, the operation counts them and
// those that were in revocation before, and a second preview finds none.
func (a *api) revocation(t failer, root, prefix string) previewed {
	t.Helper()
	var before, after previewed
	a.do(t, "GET", "sys/leases/preview/"+prefix, "", http.StatusOK, &before)
	header := a.do(t, "PUT", "sys/leases/revoke-prefix/"+prefix, `{"sync":false}`, http.StatusAccepted, nil)
	at := strings.TrimPrefix(header.Get("Location"), "/v1/")
	operation := at[strings.LastIndexByte(at, '/')+1:]
	if taken := a.taken(t, root, operation); taken.shown() != before.shown() {
		t.Fatalf("the preview of %s says\n%s, and it took\n%s", prefix, before.shown(), taken.shown())
	}
	var counted struct{ Total, Open, Done int }
	a.do(t, "GET", at, "", http.StatusOK, &counted)
	if counted.Total != before.Total+before.Revoking || counted.Open != counted.Total {
		t.Fatalf("the operation counts %+v, the preview %d and %d", counted, before.Total, before.Revoking)
	}
	a.do(t, "GET", "sys/leases/preview/"+prefix, "", http.StatusOK, &after)
	if after.Total != 0 || after.Revoking != counted.Total {
		t.Fatalf("after it a preview counts %d and %d", after.Total, after.Revoking)
	}
	return before
}

// previewLaw states the law for leases and prefixes of any kind, and for more
// leases than are read at once.
func previewLaw(t *testing.T, s store.Store) {
	t.Helper()
	a := newAPI(t, s)
	paths := []string{"a", "a/b", "a/b/c", "a/bb", "ab", "b"}
	rapid.Check(t, func(t *rapid.T) {
		root := "r" + lease.RandomBase62(12) + "/" // each game has leases of its own
		wishes := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) wish {
			w := wish{
				path: rapid.SampledFrom(paths).Draw(t, "path"), owner: rapid.SampledFrom([]string{"x", "y", "z"}).Draw(t, "owner"),
				state: rapid.SampledFrom([]lease.State{lease.Intent, lease.Active, lease.Revoking, lease.Revoked}).Draw(t, "state"),
				kind:  lease.Secret, forever: rapid.Bool().Draw(t, "forever"),
			}
			if w.state != lease.Intent && rapid.IntRange(0, 3).Draw(t, "kind") == 0 {
				w.kind = lease.Token
			}
			return w
		}), 0, 12).Draw(t, "leases")
		a.begin(t, root, wishes)
		for _, prefix := range rapid.SliceOfN(rapid.SampledFrom(append([]string{"", "a/", "none"}, paths...)), 1, 3).Draw(t, "prefixes") {
			a.revocation(t, root, strings.TrimSuffix(root+prefix, "/"))
		}
	})
	const many = 600
	wishes := make([]wish, many)
	for i := range wishes {
		wishes[i] = wish{path: paths[i%2], state: []lease.State{lease.Active, lease.Intent, lease.Revoking}[i%3], kind: lease.Secret, owner: fmt.Sprint(i % 50)}
	}
	a.begin(t, "many/", wishes)
	if p := a.revocation(t, "many/", "many"); p.Total != many*2/3 || p.Revoking != many/3 || len(p.Owners) != 50 {
		t.Errorf("of %d leases %d are taken, %d were being revoked, of %d owners", many, p.Total, p.Revoking, len(p.Owners))
	}
}

func TestPreviewIsWhatIsTaken(t *testing.T) {
	t.Parallel()
	s, err := sqlite.Open(t.Context(), t.TempDir(), clock.System{}, sqlite.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	previewLaw(t, s)
}
