//go:build e2e

package fault

import (
	"context"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/curfew-project/curfew/services/internal/faults"
	"github.com/curfew-project/curfew/shared/testkit/crashpoint"
)

const (
	// loadClients are those of the load beside everything.
	loadClients = 3
	// together is how many plans are carried out between two checks.
	together = 25
	// firesWithin is how long a plan waits for its point, beyond what provokes it.
	firesWithin = 5 * time.Second
	// fewPlans is how many are carried out where not all are asked for.
	fewPlans = 20
	// fewChapters are told then.
	fewChapters = 3
)

// What brings about points that no chapter does.
const (
	first   = "first start" // of an installation
	start   = "start"       // of a process
	waiting = "waiting"     // for timers
)

// TestCrashPoints kills Curfew before and after each of its outbound calls, and
// takes the answer of each away, while leases are in every state. Every point
// must have been hit.
func TestCrashPoints(t *testing.T) {
	w := open(t)
	found := w.explore(t)
	plans := w.plans(found)
	all := len(plans)
	if text := os.Getenv(pointsVariable); text != "" {
		asked := regexp.MustCompile(text)
		plans = slices.DeleteFunc(plans, func(p crashpoint.Plan) bool { return !asked.MatchString(p.String()) })
	} else if !full() {
		w.chance.Shuffle(len(plans), func(i, j int) { plans[i], plans[j] = plans[j], plans[i] })
		plans = plans[:min(fewPlans, len(plans))]
	}
	t.Logf("%d points in the source; %d with their purposes came about; %d plans", len(w.points), len(found), len(plans))
	row := faults.Row{Fault: "crash points, " + w.form.name()}
	var later []after
	var missed []crashpoint.Plan
	for batch := range slices.Chunk(plans, together) {
		missed = append(missed, w.batch(t, &row, found, batch, nil)...)
		if points := w.news(t, found); len(points) > 0 {
			later = append(later, after{batch, points})
		}
	}
	w.missed(t, &row, found, missed)
	if full() {
		t.Logf("%d plans were carried out; further points came about after %d batches", row.Rounds, len(later))
		w.afterOthers(t, &row, found, later)
		w.news(t, found)
		if len(plans) == all { // a few plans leave out what only others bring about
			w.neverHit(t, found)
		}
	}
	w.close(t, &row)
}

// missed tries once more what nobody came by, though it came about before: what
// waits for a timer or for a loser of a race may not come about each time. Where
// everything is asked for, what does not come about now fails the run; where a few
// are, most have to.
func (w *world) missed(t *testing.T, row *faults.Row, found map[string][]string, plans []crashpoint.Plan) {
	t.Helper()
	if full() {
		for batch := range slices.Chunk(plans, together) {
			for _, p := range w.batch(t, row, found, batch, nil) {
				t.Errorf("%s: nobody came by, though %q brought it about before", p, found[p.Point])
			}
		}
		return
	}
	t.Logf("nobody came by at %d: %s", len(plans), text(plans))
	if row.Rounds < len(plans) {
		t.Errorf("only %d plans were carried out, and %d were not", row.Rounds, len(plans))
	}
}

// afterOthers kills at points that came about only because of another kill or
// lost answer: it does that again, with further plans at hand.
func (w *world) afterOthers(t *testing.T, row *faults.Row, found map[string][]string, later []after) {
	t.Helper()
	lossy := w.lossy()
	for _, a := range later {
		for _, mode := range crashpoint.Modes(true) {
			var more []crashpoint.Plan
			for _, name := range a.points {
				if mode != crashpoint.Lost || lossy[crashpoint.Name(name)] {
					more = append(more, crashpoint.Plan{Point: name, Mode: mode})
				}
			}
			for _, p := range w.batch(t, row, found, a.plans, more) {
				t.Logf("%s: it did not come about again", p)
			}
		}
	}
}

// after are points that came about after plans.
type after struct {
	plans  []crashpoint.Plan
	points []string
}

// batch carries plans out under load, one after the other, and checks. More are
// at hand all the while; it returns those of both that were not carried out.
func (w *world) batch(t *testing.T, row *faults.Row, found map[string][]string, plans, more []crashpoint.Plan) (left []crashpoint.Plan) {
	t.Helper()
	w.tell(t.Context(), t, parked())
	l := w.load(t, loadClients)
	up := time.Now()
	for _, p := range plans {
		began := time.Now()
		done, rest, again := w.carryOut(t, found[p.Point], p, more...)
		switch {
		case done:
			row.Rounds++
			up = again
		default:
			left = append(left, p)
		}
		row.Rounds += len(more) - len(rest)
		t.Logf("%s (%s): %v; %d more at hand", p, found[p.Point][0], time.Since(began).Round(time.Millisecond), len(rest))
		more = rest
	}
	must(t, w.control.Arm(more...), "arm what is left")
	l.end()
	if up = latest(up, w.again(t)); !w.settle(t, row, up) {
		t.Logf("the plans since the last check: %s; and %s", text(plans), text(more))
	}
	rest := w.left(t, more, 0)
	row.Rounds += len(more) - len(rest)
	must(t, w.control.Disarm(), "disarm")
	return append(left, rest...)
}

// left are those of plans that nobody has taken; the first of them was armed at
// this place.
func (w *world) left(t *testing.T, plans []crashpoint.Plan, first int) (left []crashpoint.Plan) {
	t.Helper()
	taken := w.fired(t)
	for i, p := range plans {
		if !slices.Contains(taken, first+i) {
			left = append(left, p)
		}
	}
	return left
}

// settle checks and adds what it found to the row.
func (w *world) settle(t *testing.T, row *faults.Row, up time.Time) bool {
	t.Helper()
	clean, f := w.check(t, up)
	row.Clean = max(row.Clean, clean)
	row.Add(f.Harm)
	t.Logf("clean after %v; %d leases of accounts on record", clean.Round(time.Millisecond), w.record.count())
	for _, d := range f.details {
		t.Error(d)
	}
	return f.None()
}

// close adds the row to the table, with the leases since the last one.
func (w *world) close(t *testing.T, row *faults.Row) {
	t.Helper()
	row.Leases = w.record.count() - w.counted
	w.counted += row.Leases
	t.Logf("\n%s%s", faults.Head, row)
	must(t, faults.Add(os.Getenv(faults.TableVariable), *row), "add to the table")
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// explore tells every chapter once and finds out what brings each point about,
// by its full name; what does so best comes first. Where not everything is asked for, it tells a few of them.
func (w *world) explore(t *testing.T) (by map[string][]string) {
	t.Helper()
	by = map[string][]string{}
	took := func() map[string]bool {
		hits := map[string]bool{}
		for _, h := range w.hits(t) {
			hits[h] = true
		}
		must(t, w.control.Forget(), "forget the hits")
		return hits
	}
	take := func(name string, hits map[string]bool) {
		for h := range hits {
			by[h] = append(by[h], name)
		}
	}
	began := time.Now()
	boot := took()
	all := chapters()
	if !full() && os.Getenv(pointsVariable) == "" {
		w.chance.Shuffle(len(all)-1, func(i, j int) { all[i+1], all[j+1] = all[j+1], all[i+1] })
		all = all[:fewChapters]
	}
	for _, ch := range all {
		w.tell(t.Context(), t, ch)
		time.Sleep(2 * time.Second) // for what goes on behind the answers
		take(ch.name, took())
	}
	if len(all) > fewChapters {
		time.Sleep(12 * time.Second)
		take(waiting, took())
	}
	w.form.kill(t, w.form.ours()...)
	up := w.again(t)
	time.Sleep(3 * time.Second)
	take(start, took())
	if !distributed() {
		take(first, boot)
	}
	t.Logf("%d chapters were told once in %v", len(all), time.Since(began).Round(time.Second))
	w.settle(t, &faults.Row{}, up)
	return by
}

// lossy are the points at which answers can be lost.
func (w *world) lossy() map[string]bool {
	lossy := map[string]bool{}
	for _, p := range w.points {
		lossy[p.Name] = p.Lossy
	}
	return lossy
}

// plans are all that there are for what came about, in the order of their names.
func (w *world) plans(found map[string][]string) (plans []crashpoint.Plan) {
	lossy := w.lossy()
	for full := range found {
		for _, mode := range crashpoint.Modes(lossy[crashpoint.Name(full)]) {
			plans = append(plans, crashpoint.Plan{Point: full, Mode: mode})
		}
	}
	slices.SortFunc(plans, func(a, b crashpoint.Plan) int {
		return strings.Compare(found[a.Point][0]+a.Point+string(a.Mode), found[b.Point][0]+b.Point+string(b.Mode))
	})
	return plans
}

// neverHit fails for each point of the source that nothing brought about, unless
// there is a reason; and for each reason that is none any more.
func (w *world) neverHit(t *testing.T, found map[string][]string) {
	t.Helper()
	hit := map[string]bool{}
	for full := range found {
		hit[crashpoint.Name(full)] = true
	}
	allowed := unreached(distributed())
	for _, p := range w.points {
		why, excused := allowed[p.Name]
		switch {
		case !hit[p.Name] && !excused:
			t.Errorf("never hit: %s", p.Name)
		case hit[p.Name] && excused:
			t.Logf("hit, though it says %q: %s", why, p.Name)
		}
		delete(allowed, p.Name)
	}
	for name := range allowed {
		t.Errorf("there is no such point, and it needs no excuse: %s", name)
	}
}

// news are the points that came about and were not known; they are from now on.
func (w *world) news(t *testing.T, found map[string][]string) (points []string) {
	t.Helper()
	for _, h := range w.hits(t) {
		if _, known := found[h]; !known {
			found[h] = []string{"other faults"}
			points = append(points, h)
		}
	}
	slices.Sort(points)
	return points
}

// hits are the full names of the points that anybody came by.
func (w *world) hits(t *testing.T) []string {
	t.Helper()
	hits, err := w.control.Hits()
	must(t, err, "read the hits")
	return hits
}

// fired are the plans that were taken, by their places.
func (w *world) fired(t *testing.T) []int {
	t.Helper()
	places, err := w.control.Fired()
	must(t, err, "look whether a plan was taken")
	return places
}

// carryOut arms a plan, brings its point about, and starts again what died. More
// plans are at hand meanwhile. It reports whether a process took the plan, which
// of the others are left, and when the last process could work.
func (w *world) carryOut(t *testing.T, by []string, p crashpoint.Plan, more ...crashpoint.Plan) (done bool, left []crashpoint.Plan, up time.Time) {
	t.Helper()
	if by[0] == first {
		done = w.firstStart(t, p)
		must(t, w.control.Disarm(), "disarm")
		return done, more, w.again(t)
	}
	must(t, w.control.Arm(append([]crashpoint.Plan{p}, more...)...), "arm")
	for tries := 0; !done && tries < max(3, len(by)); tries++ {
		w.provoke(t, by[tries%len(by)])
		w.again(t)
		done = slices.Contains(w.fired(t), 0)
	}
	left = w.left(t, more, 1)
	must(t, w.control.Disarm(), "disarm")
	return done, left, w.again(t)
}

// provoke brings the point of the first plan about once, and returns when it was
// taken, or nothing more can be expected.
func (w *world) provoke(t *testing.T, by string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	told := make(chan struct{})
	go func() {
		defer close(told)
		switch i := slices.IndexFunc(chapters(), func(ch chapter) bool { return ch.name == by }); {
		case by == start:
			w.form.kill(t, w.form.ours()...)
			_ = w.form.start(ctx) // one that is killed is started below
		case i >= 0:
			w.tell(ctx, t, chapters()[i])
		}
	}()
	look := func() bool { return slices.Contains(w.fired(t), 0) }
	soon(hang, func() bool {
		select {
		case <-told:
			return true
		default:
			return look()
		}
	})
	within := firesWithin
	if by == waiting {
		within = 20 * time.Second
	}
	fired := soon(within, look)
	if by != start {
		// Who waits for the dead waits no longer.
		time.AfterFunc(300*time.Millisecond, cancel)
	}
	<-told
	if fired {
		time.Sleep(2 * pace) // the process that took it dies at once, unless only an answer was lost
	}
}
