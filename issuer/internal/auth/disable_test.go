package auth_test

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/curfew-project/curfew/issuer/internal/auth"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/store/storetest"
)

// Disabling withdraws first, revokes by the incarnation then, and leaves
// nothing (A3).
func TestDisable(t *testing.T) {
	t.Parallel()
	w := newWorld(t, auth.LockoutConfig{})
	must(t, w.enable("approle", recorded))
	w.role()
	m, _, err := w.table.Resolve(t.Context(), "auth/approle/login")
	must(t, err)
	must(t, w.disable("approle"))
	if len(w.revoker.asked) != 1 || w.revoker.early || !reflect.DeepEqual(w.revoker.asked[0], store.Query{MountID: m.ID, Kind: lease.Token}) {
		t.Errorf("revoked %+v, before the withdrawal: %t", w.revoker.asked, w.revoker.early)
	}
	w.nothingLeft()
	refused(t, w.login("right"), 404, "")
	must(t, w.enable("approle", recorded))
	refused(t, w.login("right"), 400, "invalid")
}

func (w *world) nothingLeft() {
	w.t.Helper()
	for _, kind := range []store.Kind{store.KindAuth, store.KindAppRole, store.KindAppRoleID, store.KindSecretID, store.KindLockout} {
		if n := len(w.entries(kind)); n != 0 {
			w.t.Errorf("%d of %s are left", n, kind)
		}
	}
}

// Whatever fails while a mount is disabled, by the time the answer says so
// nobody can log in, and a sweep completes it.
func TestFaultyDisable(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"Entry", "List", "Write"} {
		for nth := range 10 {
			for _, done := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s %d %t", method, nth+1, done), func(t *testing.T) {
					t.Parallel()
					w := newWorld(t, auth.LockoutConfig{})
					must(t, w.enable("approle", recorded))
					w.role()
					w.store.Break(storetest.Fault{Method: method, Nth: nth + 1, Done: done})
					err := w.disable("approle")
					w.store.Break()
					if in := w.login("right"); err == nil && in == nil {
						t.Error("a disabled mount lets somebody in")
					}
					must(t, w.disable("approle"))
					must(t, w.table.Finish(t.Context()))
					w.nothingLeft()
					if len(w.revoker.asked) == 0 || w.revoker.early {
						t.Error("its tokens were not revoked after the withdrawal")
					}
				})
			}
		}
	}
}

// A revoker that fails keeps the mount for the sweep.
func TestSweepRevokesAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, auth.LockoutConfig{})
	must(t, w.enable("approle", recorded))
	w.revoker.fail = errors.New("no store")
	must(t, w.disable("approle"))
	if err := w.table.Finish(t.Context()); err == nil || len(w.entries(store.KindAuth)) != 1 {
		t.Fatalf("given up: %v", err)
	}
	w.revoker.fail = nil
	must(t, w.table.Finish(t.Context()))
	w.nothingLeft()
}

// Each change is on record, with the request that made it.
func TestEvents(t *testing.T) {
	t.Parallel()
	w := newWorld(t, auth.LockoutConfig{})
	must(t, w.enable("approle", recorded))
	must(t, w.tune("approle", `{"description":"x"}`))
	must(t, w.disable("approle"))
	lock, ok, err := w.fake.Acquire(t.Context(), "publisher", "test", time.Hour)
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	_, _, err = w.fake.Number(t.Context(), lock, 100)
	must(t, err)
	all, err := w.fake.Events(t.Context(), event.Position{Epoch: 1}, 100)
	must(t, err)
	var got []string
	for _, e := range all {
		got = append(got, string(e.Type)+" "+e.Subject+" "+e.Data.Mount)
	}
	want := []string{
		"config.changed sys/auth/approle/ auth/approle/", "request.served sys/auth/approle auth/approle/",
		"config.changed sys/auth/approle/ auth/approle/", "request.served sys/auth/approle/tune auth/approle/",
		"config.changed sys/auth/approle/ auth/approle/", "request.served sys/auth/approle auth/approle/",
	}
	if !slices.Equal(got, want) {
		t.Errorf("events\n%s", strings.Join(got, "\n"))
	}
}
