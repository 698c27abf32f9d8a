package work_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/revoker/internal/work"
	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/lease"
)

// planner is an engine that plans the end of strays, and refuses what has no
// plan.
type planner struct {
	*target
	engine.Sweeper
	plan  func(a engine.Account) error
	asked []string
}

func (x *planner) StrayPlan(_ context.Context, target string, a engine.Account) (plan, handle []byte, err error) {
	x.asked = append(x.asked, a.Name)
	if x.plan != nil {
		if err := x.plan(a); err != nil {
			return nil, nil, err
		}
	}
	return []byte("plan of " + target + " " + a.Name), []byte("handle"), nil
}

// needsPlan is what an engine does that cannot work without one.
func needsPlan(l lease.Lease) error {
	if string(l.Plan) != "plan of a "+l.Account || string(l.Handle) != "handle" {
		return &engine.Error{Kind: engine.Internal, Message: "no plan"}
	}
	return nil
}

// restored puts three leases into revoking as a recovery does: the first has
// its plan, the others have none.
func restored(w *world) *planner {
	w.Helper()
	x := &planner{target: w.engine}
	x.disable, x.remove = needsPlan, needsPlan
	w.worker = work.New(w.store, map[string]engine.Revoker{"database": x}, w.estimate, zerolog.Nop())
	now := w.now()
	for i, plan := range []string{"plan of a v-0", "", ""} {
		l := lease.Lease{
			Kind: lease.Secret, State: lease.Active, Version: 7, MountID: "m", Mount: "database/", Engine: "database", Target: "a",
			Account: "v-" + string(rune('0'+i)), IssuedAt: now.Add(-time.Hour), ActivatedAt: now.Add(-time.Hour), ExpiresAt: now.Add(-time.Second),
		}
		if plan != "" {
			l.Plan, l.Handle = []byte(plan), []byte("handle")
		}
		w.leases = append(w.leases, w.apply(lease.NewID("database/creds/a"), lease.Restore{Known: l}))
	}
	return x
}

// A7: a lease that was brought in from the record has no plan; it ends by that of
// a stray, which is asked for in each attempt and not kept.
func TestRestoredLeaseIsPlanned(t *testing.T) {
	t.Parallel()
	bubble(t, 0, func(w *world) {
		x := restored(w)
		x.remove = func(lease.Lease) error { return &engine.Error{Kind: engine.Unreachable, Message: "away"} }
		if _, err := w.process(); err != nil {
			t.Error(err)
		}
		w.ended(false, false, false)
		if l := w.lease(1); l.Revocation.DisabledAt.IsZero() || len(l.Plan)+len(l.Handle) != 0 {
			t.Errorf("after the first attempt: %+v", l)
		}
		x.remove = needsPlan
		if res, err := w.process(); err != nil || res.Ended != 3 {
			t.Errorf("%+v, %v", res, err)
		}
		w.ended(true, true, true)
		if slices.Sort(x.asked); !slices.Equal(x.asked, []string{"v-1", "v-1", "v-2", "v-2"}) {
			t.Errorf("plans were asked for: %q", x.asked)
		}
	})
}

// C8: what keeps one lease from its plan is its own fate, whatever it is: parked
// where its connection is gone.
func TestPlanFails(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]func() error{
		"gone":    func() error { return &engine.Error{Kind: engine.NotFound, Message: "there is no connection \"a\""} },
		"unknown": func() error { return context.DeadlineExceeded },
		"panic":   func() error { panic("a bug") },
	} {
		bubble(t, 0, func(w *world) {
			x := restored(w)
			x.plan = func(a engine.Account) error {
				if a.Name == "v-1" {
					return fail()
				}
				return nil
			}
			if res, err := w.process(); err != nil || res.Ended != 2 || res.Down {
				t.Errorf("%s: %+v, %v", name, res, err)
			}
			w.ended(true, false, true)
			r := w.lease(1).Revocation
			if r.Parked != (name == "gone") || r.Attempts != 1 || !r.OwnFault || !r.DisabledAt.IsZero() {
				t.Errorf("%s: %+v", name, r)
			}
			if name == "gone" && !strings.Contains(r.LastError, "there is no connection") {
				t.Errorf("the reason is %q", r.LastError)
			}
			x.plan = nil
			if _, err := w.process(); err != nil {
				t.Error(err)
			}
			w.ended(true, true, true)
		})
	}
}
