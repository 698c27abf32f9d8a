package auth_test

import (
	"encoding/json"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/curfew-project/curfew/issuer/internal/auth"
	"github.com/curfew-project/curfew/shared/store"
)

// Law: an alias is locked exactly when the last failures, none older than the
// reset and no success between them, reached the threshold less than the lock's
// duration ago.
func TestLockoutModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		cfg := auth.LockoutConfig{
			Threshold: rapid.IntRange(1, 4).Draw(rt, "threshold"),
			Duration:  time.Duration(rapid.IntRange(1, 5).Draw(rt, "duration")) * time.Minute,
			Reset:     time.Duration(rapid.IntRange(1, 5).Draw(rt, "reset")) * time.Minute,
		}
		w := newWorld(t, cfg)
		must(t, w.enable("approle", recorded))
		w.role()
		failed, last := 0, time.Time{}
		locked := func() bool { return failed >= cfg.Threshold && w.clock.Now().Sub(last) < cfg.Duration }
		for range rapid.IntRange(1, 20).Draw(rt, "steps") {
			switch rapid.IntRange(0, 3).Draw(rt, "step") {
			case 0:
				w.clock.Advance(time.Duration(rapid.IntRange(1, 3).Draw(rt, "minutes")) * time.Minute)
			case 1:
				err := w.login("right")
				if locked() {
					refused(t, err, 403, "permission denied")
				} else if failed = 0; err != nil {
					rt.Fatalf("refused after %d failures: %v", failed, err)
				}
			default:
				err := w.login("wrong")
				if locked() {
					refused(t, err, 403, "permission denied")
					break
				}
				refused(t, err, 400, "invalid role or secret ID")
				if age := w.clock.Now().Sub(last); failed >= cfg.Threshold || age >= cfg.Reset {
					failed = 0
				}
				failed, last = failed+1, w.clock.Now()
			}
		}
	})
}

// Guesses at once, over several issuers, are all counted up to the lock, and
// none beyond it.
func TestLockoutAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, auth.LockoutConfig{})
	m := auth.Mount{ID: "m"}
	var wg sync.WaitGroup
	for range 40 {
		l := auth.NewLockout(w.store, auth.LockoutConfig{})
		wg.Go(func() {
			if err := l.Failed(t.Context(), m, "app"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	tries, err := auth.NewLockout(w.store, auth.LockoutConfig{}).Look(t.Context(), m, "app")
	must(t, err)
	var count struct{ Failed int }
	must(t, json.Unmarshal(w.entries(store.KindLockout)[0].Value, &count))
	if !tries.Locked || count.Failed != auth.DefaultLockoutThreshold {
		t.Errorf("locked %t after %d counted failures", tries.Locked, count.Failed)
	}
}

func TestLockoutSwitchedOff(t *testing.T) {
	t.Parallel()
	for name, tune := range map[string]string{"by the server": "", "for the mount": `{"user_lockout_config":{"lockout_disable":true}}`} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, auth.LockoutConfig{Off: tune == ""})
			must(t, w.enable("approle", recorded))
			if tune != "" {
				must(t, w.tune("approle", tune))
			}
			w.role()
			for range 10 {
				refused(t, w.login("wrong"), 400, "invalid")
			}
			must(t, w.login("right"))
			if n := len(w.entries(store.KindLockout)); n != 0 {
				t.Errorf("%d counts", n)
			}
		})
	}
}

// A mount's own settings count before the server's.
func TestLockoutOfAMount(t *testing.T) {
	t.Parallel()
	w := newWorld(t, auth.LockoutConfig{})
	must(t, w.enable("approle", recorded))
	must(t, w.tune("approle", `{"user_lockout_config":{"lockout_threshold":2,"lockout_duration":"1m"}}`))
	w.role()
	for range 2 {
		refused(t, w.login("wrong"), 400, "invalid")
	}
	refused(t, w.login("right"), 403, "permission denied")
	w.clock.Advance(time.Minute)
	must(t, w.login("right"))
}

// Counts that are over are removed, others not.
func TestLockoutTidy(t *testing.T) {
	t.Parallel()
	w := newWorld(t, auth.LockoutConfig{})
	must(t, w.enable("approle", recorded))
	w.role()
	refused(t, w.login("wrong"), 400, "invalid")
	w.clock.Advance(15*time.Minute - 1)
	must(t, w.table.Tidy(t.Context()))
	if n := len(w.entries(store.KindLockout)); n != 1 {
		t.Errorf("%d counts, want the one that is not over", n)
	}
	w.clock.Advance(1)
	must(t, w.table.Tidy(t.Context()))
	if n := len(w.entries(store.KindLockout)); n != 0 {
		t.Errorf("%d counts that are over", n)
	}
}
