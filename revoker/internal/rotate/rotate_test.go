package rotate_test

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/revoker/internal/rotate"
	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/installation"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/step"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/store/storetest"
)

// account is a role with a period; at is when it was tried and done.
type account struct {
	engine.Rotation
	period      time.Duration
	tried, done []time.Duration
}

// world is an engine of accounts in memory. It decides under a lock, as the real
// one does in the store, that each due time has one rotation.
type world struct {
	*testing.T
	store *storetest.Fake
	start time.Time
	// do is how a rotation fares.
	do func(*account) error

	mu       sync.Mutex
	accounts []*account
	busy     map[string]bool
	marks    map[string]string
	told     []string
}

func bubble(t *testing.T, test func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		test(&world{
			T: t, store: storetest.NewFake(clock.System{}), start: time.Now(), do: func(*account) error { return nil },
			busy: map[string]bool{}, marks: map[string]string{},
		})
	})
}

func (w *world) add(target string, n int, period time.Duration) (out []*account) {
	for range n {
		id := fmt.Sprint(target, len(w.accounts))
		a := &account{Rotation: engine.Rotation{ID: id, Target: target, Mount: "database/", Role: id, Due: w.start.Add(period)}, period: period}
		w.accounts, out = append(w.accounts, a), append(out, a)
	}
	return out
}

func (w *world) Rotations(_ context.Context, until time.Time) (out []engine.Rotation, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range w.accounts {
		if !a.Due.After(until) {
			out = append(out, a.Rotation)
		}
	}
	return out, nil
}

func (w *world) Rotate(ctx context.Context, r engine.Rotation, allowed func(context.Context) error) (bool, error) {
	if err := allowed(ctx); err != nil {
		return false, err
	}
	w.mu.Lock()
	var a *account
	for _, x := range w.accounts {
		if x.ID == r.ID {
			a = x
		}
	}
	if w.busy[r.ID] || a.Due.After(time.Now()) {
		w.mu.Unlock()
		return false, nil
	}
	w.busy[r.ID] = true
	a.tried = append(a.tried, time.Since(w.start))
	w.mu.Unlock()
	err := w.do(a)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.busy[r.ID] = false
	if err != nil {
		a.Attempts++
		if engine.AsError(err).Parks() {
			a.Due = time.Now().Add(15 * time.Minute)
		}
		return false, err
	}
	a.done = append(a.done, time.Since(w.start))
	a.Attempts, a.Due = 0, time.Now().Add(a.period)
	return true, nil
}

func (w *world) Mark(_ context.Context, target string) (string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.marks[target], nil
}

func (w *world) SetMark(context.Context, string, string, string) error { return nil }

// run lets processes work for a time.
func (w *world) run(d time.Duration, processes int) string {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), d)
	defer cancel()
	var log bytes.Buffer
	shared := zerolog.SyncWriter(&log)
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range processes {
		wg.Go(func() {
			s := rotate.New(rotate.Deps{
				Store: w.store, Engines: map[string]engine.Rotator{"database": w}, Time: store.NewEstimate(w.store, clock.System{}),
				Clock: clock.System{}, Log: zerolog.New(shared),
				Told: func(r engine.Rotation, err error) {
					mu.Lock()
					defer mu.Unlock()
					w.told = append(w.told, fmt.Sprint(r.ID, " ", err == nil))
				},
			}, rotate.Config{})
			if err := step.New(clock.System{}, zerolog.Nop(), step.Config{}, s).Run(ctx); err != nil {
				w.Error(err)
			}
			s.Wait()
		})
	}
	wg.Wait()
	return log.String()
}

// wantOnTime checks that each due time had one rotation, at most late after it.
func (w *world) wantOnTime(a *account, over, late time.Duration) {
	w.Helper()
	last := time.Duration(0)
	for _, at := range a.done {
		if wait := at - last; wait < a.period || wait > a.period+late {
			w.Errorf("%s was rotated %s after the time before, want %s", a.ID, wait, a.period)
		}
		last = at
	}
	if n := int(over / (a.period + late)); len(a.done) < n {
		w.Errorf("%s was rotated %d times in %s", a.ID, len(a.done), over)
	}
}

// Law: each account is rotated once for each due time, and on time, whatever the
// number of processes.
func TestOnTime(t *testing.T) {
	t.Parallel()
	bubble(t, func(w *world) {
		w.add("a", 3, 5*time.Second)
		w.add("b", 2, time.Minute)
		const over = 10 * time.Minute
		w.run(over, 3)
		n := 0
		for _, a := range w.accounts {
			w.wantOnTime(a, over, time.Second)
			n += len(a.done)
			if len(a.tried) != len(a.done) {
				t.Errorf("%s was tried %d times for %d rotations", a.ID, len(a.tried), len(a.done))
			}
		}
		if len(w.told) != n {
			t.Errorf("told of %d rotations, there were %d", len(w.told), n)
		}
	})
}

// Law: a target that does not answer, for as long as it takes, delays only its own
// accounts (promise 4).
func TestSlowTarget(t *testing.T) {
	t.Parallel()
	bubble(t, func(w *world) {
		slow := w.add("slow", 4, 5*time.Second)
		good := w.add("good", 2, 10*time.Second)
		w.do = func(a *account) error {
			if a.Target == "slow" {
				time.Sleep(15 * time.Minute)
			}
			return nil
		}
		w.run(10*time.Minute, 1)
		for _, a := range good {
			w.wantOnTime(a, 10*time.Minute, time.Second)
		}
		if n := len(slow[0].tried) + len(slow[1].tried) + len(slow[2].tried) + len(slow[3].tried); n != 1 {
			t.Errorf("%d accounts of the slow target were begun at once", n)
		}
	})
}

// Law: a target that is down is probed with one account at a time, each of them in
// turn, at most a minute apart; its first success wakes the whole backlog (C8).
func TestTargetDown(t *testing.T) {
	t.Parallel()
	bubble(t, func(w *world) {
		all := w.add("down", 3, time.Hour)
		const from, until = time.Hour, 2 * time.Hour
		w.do = func(*account) error {
			if time.Since(w.start) < until {
				return &engine.Error{Kind: engine.Unreachable, Message: "away"}
			}
			return nil
		}
		w.run(until+2*time.Minute, 1)
		var probes []time.Duration
		for _, a := range all {
			if len(a.done) != 1 || a.done[0] > until+61*time.Second {
				t.Errorf("%s was rotated at %s", a.ID, a.done)
			}
			if len(a.tried) < 10 {
				t.Errorf("%s was tried %d times", a.ID, len(a.tried))
			}
			probes = append(probes, a.tried...)
		}
		if first, last := all[0].done[0], all[2].done[0]; max(first, last)-min(first, last) > time.Second {
			t.Errorf("the backlog took from %s to %s", first, last)
		}
		if n := len(probes); n < 60 || n > 140 {
			t.Errorf("%d attempts in an hour, want one in 30 s to 60 s", n)
		}
	})
}

// Law: an account that fails by itself keeps none of its neighbours, and is tried
// when its role says.
func TestOwnFailure(t *testing.T) {
	t.Parallel()
	bubble(t, func(w *world) {
		all := w.add("a", 3, time.Minute)
		w.do = func(a *account) error {
			switch a {
			case all[0]:
				return &engine.Error{Kind: engine.Refused, Message: "must have admin option"}
			case all[1]:
				panic("broken")
			}
			return nil
		}
		log := w.run(time.Hour, 1)
		w.wantOnTime(all[2], time.Hour, time.Second)
		if n := len(all[0].tried); n != 4 {
			t.Errorf("what needs a person was tried %d times in an hour", n)
		}
		if len(all[1].tried) < 1 || !strings.Contains(log, "rotation broke down") {
			t.Errorf("a panic was not told: %s", log)
		}
	})
}

// Law: nothing is rotated on the word of a store that may lack something, nor
// where another installation sweeps (A7, B3).
func TestDoubt(t *testing.T) {
	t.Parallel()
	for name, raise := range map[string]func(w *world) (settle func()){
		"suspended": func(w *world) func() {
			if err := w.store.Suspend(w.Context(), store.Suspension{Reason: "rewound"}); err != nil {
				w.Fatal(err)
			}
			return nil
		},
		"doubted": func(w *world) func() {
			if err := installation.Raise(w.Context(), w.store, "restored"); err != nil {
				w.Fatal(err)
			}
			return func() {
				if _, err := installation.Confirm(w.Context(), w.store, lease.Actor{Name: "person"}); err != nil {
					w.Fatal(err)
				}
			}
		},
		"another's mark": func(w *world) func() {
			w.marks["a"] = "curfew:another:7"
			return func() { w.marks["a"] = "" }
		},
		"contested": func(w *world) func() {
			o, e, err := installation.Owned(w.Context(), w.store, "a")
			if err == nil {
				e.Kind = store.KindSystem
				err = installation.Contest(w.Context(), w.store, e, o, "database/db", "curfew:another:7")
			}
			if err != nil {
				w.Fatal(err)
			}
			return func() {
				if _, err := installation.Confirm(w.Context(), w.store, lease.Actor{Name: "person"}); err != nil {
					w.Fatal(err)
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, func(w *world) {
				a := w.add("a", 1, time.Minute)[0]
				settle := raise(w)
				w.run(10*time.Minute, 2)
				if len(a.tried) != 0 {
					t.Fatalf("it was rotated at %s", a.tried)
				}
				if settle == nil {
					return
				}
				settle()
				w.run(2*time.Minute, 2)
				if len(a.done) == 0 {
					t.Error("it is not rotated afterwards")
				}
			})
		})
	}
}
