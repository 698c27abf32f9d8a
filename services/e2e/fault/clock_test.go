//go:build e2e

package fault

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/curfew-project/curfew/services/internal/faults"
	"github.com/curfew-project/curfew/shared/testkit/wrongclock"
)

const (
	// apart is how wrong a clock is.
	apart = 5 * time.Minute
	// apartFor is how long processes are apart, jumps how often a clock jumps.
	apartFor = 2 * time.Minute
	jumps    = 60
	// jumpCheckEvery is how many jumps there are between two checks.
	jumpCheckEvery = 12
	// late is how long a credential may outlive its lease here, by the clock of
	// whoever waits: more than VALID UNTIL leaves it (B8) would be another clock's.
	late = 15 * time.Second
	// pausedFor is how long expiry waits at most after a jump of the store's
	// clock (A5).
	pausedFor = 30 * time.Second
)

// clock sets the wall clock of a process, running or not.
func (w *world) clock(t *testing.T, name string, ahead time.Duration) {
	t.Helper()
	file := ""
	switch f := w.form.(type) {
	case *single:
		file = f.config
	case *fleet:
		file = filepath.Join(f.Dir, name+".hcl")
	}
	must(t, wrongclock.Set(file, ahead), "set the clock of "+name)
}

// shown fails unless the processes say themselves how wrong their clocks are. Of
// one machine the store's clock is its own: there is only what it takes the time
// for.
func (w *world) shown(t *testing.T, want map[string]time.Duration) {
	t.Helper()
	var why error
	if !soon(cleanWithin, func() bool { why = w.wrong(t, want); return why == nil }) {
		t.Error(why)
	}
}

func (w *world) wrong(t *testing.T, want map[string]time.Duration) error {
	t.Helper()
	var health struct {
		Skew int64 `json:"clock_skew_ms"`
		Time int64 `json:"server_time_utc"`
	}
	body, err := w.get(t, "/v1/sys/health")
	must(t, err, "read the health")
	must(t, json.Unmarshal(body, &health), "read the health")
	if s, ok := w.form.(*single); ok {
		name := s.processes()[0]
		if d := time.Until(time.Unix(health.Time, 0)); (d - want[name]).Abs() > 2*time.Second {
			return fmt.Errorf("the server takes it for %v later, want %v", d, want[name])
		}
		return nil
	}
	worst := time.Duration(0)
	says := map[string]time.Duration{}
	for _, p := range w.installation(t).Processes {
		says[p.Name] = time.Duration(p.Skew) * time.Millisecond
	}
	for name, ahead := range want {
		worst = max(worst, ahead.Abs())
		if (says[name] - ahead).Abs() > time.Second {
			return fmt.Errorf("%s says that its clock is %v ahead of the store's, want %v", name, says[name], ahead)
		}
	}
	if got := time.Duration(health.Skew) * time.Millisecond; (got - worst).Abs() > time.Second {
		return fmt.Errorf("the health says that clocks are %v apart, want %v", got, worst)
	}
	return nil
}

// TestClocksApart runs Curfew with clocks that are five minutes wrong: in the
// distributed form some of the processes ahead and some behind, of one machine all
// of it ahead, and then behind. Leases go by the store's clock (A5), accounts by
// the target's (B8).
func TestClocksApart(t *testing.T) {
	if !full() {
		t.Skipf("it takes minutes: set %s=1", fullVariable)
	}
	w := open(t)
	row := faults.Row{Fault: "clocks: five minutes apart, " + w.form.name()}
	for _, ahead := range []time.Duration{apart, -apart} {
		w.form.stop(t)
		clocks := map[string]time.Duration{}
		for i, name := range w.form.ours() {
			clocks[name] = ahead
			if i%2 == 1 {
				clocks[name] = -ahead
			}
			w.clock(t, name, clocks[name])
		}
		w.again(t)
		row.Rounds++
		w.shown(t, clocks)
		l := w.load(t, 2*loadClients)
		for until := time.Now().Add(apartFor); time.Now().Before(until); {
			w.onTime(t)
			for _, ch := range chapters() {
				if strings.Contains("tokens wrapping prefix approle static roles", ch.name) {
					w.tell(t.Context(), t, ch)
				}
			}
		}
		up := time.Now() // nothing has been away
		l.end()
		w.settle(t, &row, up)
	}
	w.close(t, &row)
}

// onTime fails unless a credential works until its time and ends then, by the
// clock of whoever asks.
func (w *world) onTime(t *testing.T) {
	t.Helper()
	asked := time.Now()
	cred := w.give(t, w.client(t), "brief")
	answered := time.Now()
	w.book.ends(cred)
	var over time.Time
	if !soon(3*time.Second+late, func() bool {
		err := w.target.login(t.Context(), cred.user, cred.password)
		over = time.Now()
		return refused(err)
	}) {
		t.Errorf("%s works %v after it was issued", cred.user, time.Since(answered))
	}
	if lived := over.Sub(asked); lived < 3*time.Second {
		t.Errorf("%s ended %v after it was asked for", cred.user, lived)
	}
}

// TestClockJumps makes clocks of running processes jump by up to five minutes,
// forward and back, at any time. Of one machine it is the store's clock that jumps:
// it never goes back, and after a jump no lease ends by it at once (A5).
func TestClockJumps(t *testing.T) {
	if !full() {
		t.Skipf("it takes minutes: set %s=1", fullVariable)
	}
	w := open(t)
	row := faults.Row{Fault: "clocks: jump, " + w.form.name()}
	paused := time.Duration(0)
	if !distributed() {
		w.pauses(t)
		paused = pausedFor
	}
	clocks := map[string]time.Duration{}
	l := w.load(t, 2*loadClients)
	for row.Rounds < jumps {
		names := w.form.ours()
		name := names[w.chance.IntN(len(names))]
		ahead := time.Duration(w.chance.Int64N(2*int64(apart/time.Second)+1))*time.Second - apart
		w.clock(t, name, ahead)
		clocks[name] = ahead
		row.Rounds++
		l.serve(t, 5)
		time.Sleep(time.Duration(w.chance.Int64N(int64(2 * time.Second)))) // any instant will do
		t.Logf("round %d: the clock of %s is %v ahead", row.Rounds, name, ahead)
		if row.Rounds%jumpCheckEvery == 0 || row.Rounds == jumps {
			w.shown(t, clocks)
			time.Sleep(paused) // what falls due meanwhile waits for the end of it
			up := time.Now()   // nothing has been away
			l.end()
			w.settle(t, &row, up)
			if row.Rounds < jumps {
				l = w.load(t, 2*loadClients)
			}
		}
	}
	l.end()
	w.close(t, &row)
}

// pauses: after a jump forward of the store's clock no lease that it makes overdue
// ends within the pause in which the jump may be found out; then it does, by that
// clock (A5).
func (w *world) pauses(t *testing.T) {
	t.Helper()
	c := w.client(t)
	data := role("4m")
	_, err := c.Logical().Write("database/roles/minutes", data)
	must(t, err, "write role minutes")
	cred := w.give(t, c, "minutes")
	w.clock(t, "server", apart)
	jumped := time.Now()
	for time.Since(jumped) < pausedFor*2/3 { // with room for a busy machine
		if err := w.target.login(t.Context(), cred.user, cred.password); err != nil {
			t.Fatalf("%v after the jump: %v", time.Since(jumped), err)
		}
		time.Sleep(100 * time.Millisecond)
	}
	w.book.ends(cred)
	if !soon(hang, func() bool { return refused(w.target.login(t.Context(), cred.user, cred.password)) }) {
		t.Errorf("it works %v after the jump", time.Since(jumped))
	}
	t.Logf("a lease that a jump made overdue ended %v after it", time.Since(jumped).Round(time.Millisecond))
}
