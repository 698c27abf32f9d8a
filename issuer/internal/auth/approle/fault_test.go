package approle_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/store/storetest"
)

// faults are both kinds, at each of the first calls of every method.
func faults() (out []storetest.Fault) {
	for _, method := range []string{"Entry", "EntryByID", "List", "Write", "Now"} {
		for nth := range 4 {
			for _, done := range []bool{false, true} {
				out = append(out, storetest.Fault{Method: method, Nth: nth + 1, Done: done})
			}
		}
	}
	return out
}

func each(t *testing.T, do func(w *world, f storetest.Fault)) {
	t.Helper()
	for _, f := range faults() {
		t.Run(fmt.Sprintf("%s %d %t", f.Method, f.Nth, f.Done), func(t *testing.T) {
			t.Parallel()
			do(newWorld(t), f)
		})
	}
}

// Whatever fails, a login with one use succeeds at most once, and what is
// guessed never.
func TestFaultyLogin(t *testing.T) {
	t.Parallel()
	each(t, func(w *world, f storetest.Fault) {
		id := w.app(`{}`)
		text, _ := w.secret(`{"num_uses":1}`)
		_, err := w.login(id, "guess") // so that there is something to forget
		w.refused(err, 400, "")
		w.store.Break(f)
		won := 0
		for range 3 {
			if _, err := w.login(id, text); err == nil {
				won++
			}
			if _, err := w.login(id, "guess"); err == nil {
				w.t.Error("a guess was right")
			}
		}
		if won > 1 {
			w.t.Errorf("%d logins with one use", won)
		}
	})
}

// A guess is judged only once it is counted: what is answered as wrong is on
// the count, whatever failed.
func TestFaultyCount(t *testing.T) {
	t.Parallel()
	each(t, func(w *world, f storetest.Fault) {
		id := w.app(`{}`)
		w.store.Break(f)
		judged := 0
		for range 12 {
			_, err := w.login(id, "guess")
			if err == nil {
				w.t.Fatal("a guess was right")
			}
			if err.Error() == "invalid role or secret ID" {
				judged++
			}
		}
		_, err := w.login(id, "guess")
		w.refused(err, 403, "")
		if judged > 5 {
			w.t.Errorf("%d guesses were judged", judged)
		}
	})
}

// A secret id that was not answered does not work, and one that was does.
func TestFaultyGenerate(t *testing.T) {
	t.Parallel()
	each(t, func(w *world, f storetest.Fault) {
		id := w.app(`{}`)
		w.store.Break(f)
		const text = "the secret id that is looked for"
		a, err := w.write("role/app/custom-secret-id", `{"secret_id":"`+text+`"}`)
		w.store.Break()
		_, in := w.login(id, text)
		if (err == nil) != (in == nil) {
			w.t.Errorf("answer %v (%v), login %v", a != nil, err, in)
		}
	})
}

// Role and role id are one commit: after a failure asked again, either the old
// or the new one is there as a whole.
func TestFaultyRole(t *testing.T) {
	t.Parallel()
	each(t, func(w *world, f storetest.Fault) {
		w.app(`{"role_id":"old"}`)
		text, _ := w.secret(``)
		w.store.Break(f)
		_, err := w.write("role/app", `{"role_id":"new","token_ttl":"1m"}`)
		w.store.Break()
		shown := w.ok(w.do(engine.Read, "role/app/role-id", "")).Data["role_id"].(string)
		if err == nil && shown != "new" {
			w.t.Errorf("the change is done, and the role id is %q", shown)
		}
		for _, id := range []string{"old", "new"} {
			if _, err := w.login(id, text); (err == nil) != (id == shown) {
				w.t.Errorf("role id is %q; login by %q: %v", shown, id, err)
			}
		}
		w.ok(w.write("role/app", `{"role_id":"new"}`))
	})
}

// A role whose deletion failed half way lets nobody in, and a sweep leaves
// nothing of it.
func TestFaultyDelete(t *testing.T) {
	t.Parallel()
	each(t, func(w *world, f storetest.Fault) {
		id := w.app(`{}`)
		text, _ := w.secret(``)
		w.store.Break(f)
		_, err := w.do(engine.Delete, "role/app", "")
		w.store.Break()
		if _, in := w.login(id, text); err == nil && in == nil {
			w.t.Error("a deleted role lets somebody in")
		}
		w.ok(w.do(engine.Delete, "role/app", ""))
		if err := errors.Join(w.table.Finish(w.t.Context()), w.table.Tidy(w.t.Context())); err != nil {
			w.t.Fatal(err)
		}
		for _, kind := range []store.Kind{store.KindAppRole, store.KindAppRoleID, store.KindSecretID, store.KindLockout} {
			if n := w.count(kind); n != 0 {
				w.t.Errorf("%d of %s are left", n, kind)
			}
		}
	})
}
