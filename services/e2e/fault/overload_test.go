//go:build e2e

package fault

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/curfew-project/curfew/services/internal/faults"
)

const (
	// overloadVariable is how many leases fall due at once, where not 50,000.
	overloadVariable = "CURFEW_FAULT_OVERLOAD"
	overload         = 50_000
	// oneIn of them has an account that the target refuses to disable.
	oneIn = 100
	// room is the promise: no process takes more memory than that beyond what it
	// takes when it is idle.
	room = 256 << 20
	// drainWithin is for a machine that does much else.
	drainWithin = 10 * time.Minute
)

// TestOverload lets 50,000 leases fall due within two seconds, one in a hundred of
// which the target refuses (C8). The others end meanwhile, those of another target
// are on time (B7, promise 4), and no queue grows without a bound (E).
func TestOverload(t *testing.T) {
	n := overload
	switch text := os.Getenv(overloadVariable); {
	case text != "":
		var err error
		n, err = strconv.Atoi(text)
		must(t, err, "read "+overloadVariable)
	case !full():
		t.Skip("thousands of leases take minutes: make fault, or " + overloadVariable)
	}
	w := open(t)
	g := w.patient(t)
	time.Sleep(2 * time.Second) // for what a start makes the processes do
	idle := w.memory(t, "VmRSS")
	l := w.calm(t, loadClients, 200*time.Millisecond)
	creds, due := w.together(t, g, n, 10*time.Second)
	issued := w.memory(t, "VmHWM")
	// The admin may not touch a superuser: it needs a person.
	var refused []string
	for i := 0; i < n; i += oneIn {
		refused = append(refused, creds[i].user)
	}
	g.alterAll(t, refused, "SUPERUSER")
	if !time.Now().Before(due) {
		t.Fatalf("leases were due %v before the target was ready", time.Since(due))
	}
	time.Sleep(time.Until(due))
	left := func() (n int) {
		must(t, g.super.QueryRow(t.Context(), "SELECT count(*) FROM pg_roles WHERE starts_with(rolname, $1)", marked).Scan(&n), "count accounts")
		return n
	}
	if !soon(drainWithin, func() bool { time.Sleep(200 * time.Millisecond); return left() <= len(refused) }) {
		t.Errorf("%d accounts are left after %v, %d of which are refused", left(), drainWithin, len(refused))
	}
	drained := time.Now()
	took := drained.Sub(due)
	if !soon(cleanWithin, func() bool { return w.irrevocable(t) == len(refused) }) {
		t.Errorf("%d revocations need a person, want %d", w.irrevocable(t), len(refused))
	}
	if n := left(); n != len(refused) {
		t.Errorf("%d accounts are left, want the %d that are refused", n, len(refused))
	}
	g.alterAll(t, refused, "NOSUPERUSER")
	_, err := w.client(t).Logical().Write("sys/leases/retry-connection/"+g.mount+"/db", nil)
	must(t, err, "try what was refused")
	up := time.Now()
	ended := w.memory(t, "VmHWM") // what looks at the record afterwards is no part of it
	l.end()
	w.verdict(t, faults.Row{Fault: fmt.Sprintf("overload: %d due, %s", n, w.form.name()), Rounds: 1}, up, 0)
	disabled, gone := w.lags(g.mount+"/creds/due/", due.Add(-time.Minute), up)
	t.Logf("%d leases were gone after %v: %.0f a second; disabled after their time: %s; gone: %s",
		n-len(refused), took.Round(time.Millisecond), float64(n-len(refused))/took.Seconds(), spread(disabled), spread(gone[:max(0, len(gone)-len(refused))]))
	w.punctual(t, due, drained)
	looked := w.memory(t, "VmHWM")
	for name, peak := range ended {
		t.Logf("memory of %s in MiB: idle %d, at most %d while leases were made, %d while they ended, %d while all of it was looked at",
			name, idle[name]>>20, issued[name]>>20, peak>>20, looked[name]>>20)
		if peak-idle[name] > room {
			t.Errorf("%s took %d MiB more than when it was idle", name, (peak-idle[name])>>20)
		}
	}
	w.discharge(t, g)
}

// alterAll alters many accounts as the superuser.
func (g *target) alterAll(t *testing.T, users []string, attribute string) {
	t.Helper()
	var text strings.Builder
	for _, user := range users {
		fmt.Fprintf(&text, "ALTER ROLE %q %s;", user, attribute)
	}
	_, err := g.super.Exec(t.Context(), text.String())
	must(t, err, "alter accounts")
}

// irrevocable counts the revocations that need a person.
func (w *world) irrevocable(t *testing.T) int {
	t.Helper()
	var answer struct {
		Data struct {
			Leases int `json:"lease_count"`
		}
	}
	body, err := w.get(t, "/v1/sys/leases/count?type=irrevocable")
	must(t, err, "count what needs a person")
	must(t, json.Unmarshal(body, &answer), "count what needs a person")
	return answer.Data.Leases
}

// memory is a field of /proc/*/status of our programs, in bytes.
func (w *world) memory(t *testing.T, field string) map[string]int64 {
	t.Helper()
	out := map[string]int64{}
	for _, name := range w.form.ours() {
		text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(w.form.pid(t, name)), "status"))
		must(t, err, "read the memory of "+name)
		_, after, found := strings.Cut(string(text), field+":")
		fields := strings.Fields(after)
		if !found || len(fields) == 0 {
			t.Fatalf("the memory of %s is not known", name)
		}
		kib, err := strconv.ParseInt(fields[0], 10, 64)
		must(t, err, "read the memory of "+name)
		out[name] = kib << 10
	}
	return out
}
