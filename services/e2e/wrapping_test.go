//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/curfew-project/curfew/shared/testkit"
)

// TestWrapping (A9): a credential in a wrapping token is opened once, by one of
// a thousand, at whichever issuer; one that nobody opens is gone from the
// database with its wrapping token, also if everything is killed meanwhile.
func TestWrapping(t *testing.T) {
	t.Parallel()
	s := newCurfew(t)
	target := articleTarget(t, testkit.CreateRoleAdmin)
	root := newVault(t, s)
	target.setUp(t, root, "database", "1h", "24h")
	for library, connect := range clients() {
		root := connect(t, s)
		wrapped, err := root.wrapping(t, "5m").read("database/creds/app")
		must(t, err, "read a credential, wrapped")
		if wrapped.Wrap == "" || wrapped.LeaseID != "" || wrapped.Data != nil {
			t.Fatalf("%s: wrapped: %+v", library, wrapped)
		}
		cred := credentialOf(must1(t, "unwrap")(root.unwrap(wrapped.Wrap)))
		want(t, "the credential works", target.works(t, cred), true)
		_, err = root.unwrap(wrapped.Wrap)
		want(t, "status of a second unwrap", statusOf(err), http.StatusBadRequest)
		// Nobody but the wrapping token is needed.
		wrapped, err = root.wrapping(t, "5m").read("database/creds/app")
		must(t, err, "read a credential, wrapped")
		bearer := root.as(t, wrapped.Wrap)
		want(t, "status of a wrapping token that reads", statusOf(third(bearer.read("database/creds/app"))), http.StatusForbidden)
		cred = credentialOf(must1(t, "unwrap with nothing else")(bearer.unwrap("")))
		want(t, "the credential works", target.works(t, cred), true)
	}
	kept := onlyOne(t, s, root)
	before := target.accounts(t, "v-")
	unopened := brieflyWrapped(t, s)
	user := ""
	for _, name := range target.accounts(t, "v-") {
		if !slices.Contains(before, name) {
			user = name
		}
	}
	if user == "" {
		t.Fatal("the wrapped credential is not in the database")
	}
	s.kill(t)
	s.start(t)
	target.gone(t, user)
	want(t, "what one of a thousand opened works", target.works(t, kept), true)
	out, code := s.run(t, "unwrap", unopened.Wrap)
	if code != 2 || !strings.Contains(out, "wrapping token is not valid or does not exist") {
		t.Errorf("unwrap of one that has expired ended with %d:\n%s", code, out)
	}
	verified(t, s)
}

// onlyOne lets a thousand open one wrapping token at the same time.
func onlyOne(t *testing.T, s *curfew, root client) credential {
	t.Helper()
	wrapped, err := root.wrapping(t, "5m").read("database/creds/app")
	must(t, err, "read a credential, wrapped")
	var got atomic.Pointer[credential]
	var opened, refused atomic.Int64
	var all sync.WaitGroup
	turn := make(chan struct{}, 200) // connections at a time
	for range 1000 {
		all.Go(func() {
			turn <- struct{}{}
			defer func() { <-turn }()
			r, err := s.send("PUT", "/v1/sys/wrapping/unwrap", wrapped.Wrap, "", nil)
			switch {
			case err != nil:
				t.Errorf("unwrap: %v", err)
			case r.status == http.StatusOK:
				var body struct {
					LeaseID string `json:"lease_id"`
					Data    struct{ Username, Password string }
				}
				if err := json.Unmarshal(r.body, &body); err != nil {
					t.Errorf("unwrap: %v", err)
				}
				got.Store(&credential{lease: body.LeaseID, user: body.Data.Username, password: body.Data.Password})
				opened.Add(1)
			case r.status == http.StatusBadRequest:
				refused.Add(1)
			default:
				t.Errorf("unwrap: status %d: %v", r.status, r.errors())
			}
		})
	}
	all.Wait()
	if opened.Load() != 1 || refused.Load() != 999 {
		t.Fatalf("%d of 1,000 opened it, %d were refused", opened.Load(), refused.Load())
	}
	return *got.Load()
}

// brieflyWrapped has the program wrap a credential for two seconds.
func brieflyWrapped(t *testing.T, s *curfew) *answer {
	t.Helper()
	out, code := s.run(t, "read", "-wrap-ttl=2s", "-format=json", "database/creds/app")
	var body struct {
		WrapInfo struct{ Token, Accessor string } `json:"wrap_info"`
	}
	if err := json.Unmarshal([]byte(out), &body); err != nil || code != 0 || body.WrapInfo.Token == "" {
		t.Fatalf("read -wrap-ttl ended with %d, %v:\n%s", code, err, out)
	}
	return &answer{Wrap: body.WrapInfo.Token, WrapAccessor: body.WrapInfo.Accessor}
}

// must1 fails the test at the error of a call.
func must1(tb testing.TB, doing string) func(*answer, error) *answer {
	tb.Helper()
	return func(a *answer, err error) *answer {
		tb.Helper()
		must(tb, err, doing)
		if a == nil {
			tb.Fatal(fmt.Sprint(doing, ": nothing"))
		}
		return a
	}
}
