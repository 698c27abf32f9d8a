package installation_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/installation"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/store/storetest"
)

func reported(ctx context.Context, tb testing.TB, s store.Entries) map[string]installation.Strays {
	tb.Helper()
	found, err := installation.ReportedStrays(ctx, s)
	must(tb, err)
	return found
}

// A report is replaced and taken away as a whole; one that says the same is not
// written again, round for round.
func TestReportStrays(t *testing.T) {
	t.Parallel()
	ctx, m := t.Context(), &meeting{Fake: storetest.NewFake(clock.System{})}
	writes := 0
	m.before = func() { writes++ }
	report := func(target string, names ...string) installation.Strays {
		t.Helper()
		r := installation.Strays{Engine: "database", Count: len(names), Accounts: names}
		must(t, installation.ReportStrays(ctx, m, target, r))
		return r
	}
	report("a")
	a, b := report("a", "v-1", "v-2"), report("b", "v-3")
	report("a", "v-1", "v-2")
	if got := reported(ctx, t, m); !reflect.DeepEqual(got, map[string]installation.Strays{"a": a, "b": b}) || writes != 2 {
		t.Errorf("after %d writes: %+v", writes, got)
	}
	a = report("a", "v-1", "v-9")
	report("b")
	report("b")
	if got := reported(ctx, t, m); !reflect.DeepEqual(got, map[string]installation.Strays{"a": a}) || writes != 4 {
		t.Errorf("after %d writes: %+v", writes, got)
	}
	// Another process reports for the first time as well.
	var met bool
	m.before = func() {
		if !met {
			met = true
			must(t, installation.ReportStrays(ctx, m.Fake, "c", installation.Strays{Count: 1, Accounts: []string{"v-4"}}))
		}
	}
	c := report("c", "v-5")
	if got := reported(ctx, t, m); !reflect.DeepEqual(got["c"], c) {
		t.Errorf("a report that met another: %+v", got)
	}
}

// What is kept of a target goes with it; other engines' targets, and all of them
// where the engine does not say, stay.
func TestForget(t *testing.T) {
	t.Parallel()
	ctx, fake := t.Context(), storetest.NewFake(clock.System{})
	own := func(target, engine string) {
		o, e, err := installation.Owned(ctx, fake, target)
		must(t, err)
		o.Engine = engine
		o.Next("run")
		must(t, installation.Contest(ctx, fake, e, o, target, "other's"))
		must(t, installation.ReportStrays(ctx, fake, target, installation.Strays{Engine: engine, Count: 1, Accounts: []string{"v-1"}}))
	}
	own("gone", "database")
	own("there", "database")
	own("elsewhere", "aws")
	kept := func(want ...string) {
		t.Helper()
		found, err := installation.Contested(ctx, fake)
		must(t, err)
		if got := slices.Sorted(maps.Keys(found)); !slices.Equal(got, want) {
			t.Errorf("contested: %q, want %q", got, want)
		}
		if got := slices.Sorted(maps.Keys(reported(ctx, t, fake))); !slices.Equal(got, want) {
			t.Errorf("reported: %q, want %q", got, want)
		}
	}
	away := errors.New("engine is away")
	if err := installation.Forget(ctx, fake, "database", func(context.Context) (map[string]bool, error) { return nil, away }); !errors.Is(err, away) {
		t.Errorf("engine away: %v", err)
	}
	kept("elsewhere", "gone", "there")
	for range 2 {
		must(t, installation.Forget(ctx, fake, "database", func(context.Context) (map[string]bool, error) {
			own("new", "database") // made after what is kept was read, and too late for the list
			return map[string]bool{"there": true}, nil
		}))
		kept("elsewhere", "new", "there")
		must(t, installation.Forget(ctx, fake, "database", func(context.Context) (map[string]bool, error) {
			return map[string]bool{"there": true}, nil
		}))
		kept("elsewhere", "there")
	}
}

// More than a page of targets.
func TestManyTargets(t *testing.T) {
	t.Parallel()
	ctx, fake := t.Context(), storetest.NewFake(clock.System{})
	for i := range 2001 {
		must(t, installation.ReportStrays(ctx, fake, fmt.Sprint("t", i), installation.Strays{Count: 1}))
	}
	if n := len(reported(ctx, t, fake)); n != 2001 {
		t.Errorf("%d reports", n)
	}
}

// The reports of recoveries come back whole, the earliest first.
func TestRecoveries(t *testing.T) {
	t.Parallel()
	ctx, fake := t.Context(), storetest.NewFake(clock.System{})
	at := time.Date(2030, 1, 2, 3, 4, 5, 0, time.FixedZone("east", 3600))
	var want []installation.Restored
	for i := range 5 {
		r := installation.Restored{
			Epoch: int64(i), Reason: "restored", At: at.Add(time.Duration(i) * 100 * time.Millisecond), From: "1-7", To: "1-9", Returned: i,
			Lost: []installation.Loss{{What: "token", ID: "accessor", By: by, At: at.UTC()}}, LostCount: 1,
		}
		want = append(want, r)
	}
	for _, i := range []int{3, 0, 4, 1, 2} {
		put, err := installation.Reporting(want[i])
		must(t, err)
		_, err = fake.Write(ctx, store.Write{Puts: []store.Entry{put}})
		must(t, err)
	}
	got, err := installation.Recoveries(ctx, fake)
	must(t, err)
	if len(got) != len(want) {
		t.Fatalf("%d reports", len(got))
	}
	for i := range want {
		if want[i].At.Equal(got[i].At) {
			got[i].At = want[i].At
		}
		if !reflect.DeepEqual(got[i], want[i]) {
			t.Errorf("report %d: %+v, want %+v", i, got[i], want[i])
		}
	}
}
