//go:build e2e

package fault

import (
	"os"
	"testing"
	"time"

	"github.com/curfew-project/curfew/services/internal/faults"
)

const (
	// outageVariable is how long a target is away, where not ten minutes.
	outageVariable = "CURFEW_FAULT_OUTAGE"
	allOutage      = 10 * time.Minute
	fewOutage      = 4 * time.Second
	// allDue and fewDue leases fall due meanwhile.
	allDue, fewDue = 5000, 40
	// backWithin is the promise: all of them are gone so long after its return.
	backWithin = time.Minute
)

// TestTargetDown takes a target away while thousands of its leases fall due. When
// it is back they are gone within a minute, and nobody has to do anything (C8);
// those of another target are on time meanwhile (promise 4, B7).
func TestTargetDown(t *testing.T) {
	w := open(t)
	g := w.patient(t)
	n, lasts := fewDue, fewOutage
	if full() {
		n, lasts = allDue, allOutage
	}
	if text := os.Getenv(outageVariable); text != "" {
		var err error
		lasts, err = time.ParseDuration(text)
		must(t, err, "read "+outageVariable)
	}
	l := w.calm(t, loadClients, 200*time.Millisecond)
	creds, due := w.together(t, g, n, 3*time.Second)

	g.Kill(t)
	down := time.Now()
	if !down.Before(due) {
		t.Fatalf("leases were due %v before the target was away", down.Sub(due))
	}
	if err := g.login(t.Context(), creds[0].user, creds[0].password); err == nil || refused(err) {
		t.Fatalf("the target is not away: %v", err)
	}
	end := latest(down.Add(lasts), due.Add(fewOutage))
	time.Sleep(time.Until(end.Add(-time.Second)))
	// Issuing there is refused, and leaves nothing behind that is found below; where
	// the issuer did not know yet, an intent that is rolled back after its grace.
	if !full() {
		t.Log("nothing is issued meanwhile: its intent would take ten seconds more")
	} else if cred, err := w.issue(t.Context(), w.client(t), g.mount+"/creds/app"); err == nil {
		t.Errorf("%s was issued by a target that is away", cred.lease)
	}
	time.Sleep(time.Until(end))
	g.Start(t)
	back := time.Now()
	g.again(t)
	left := len(g.accounts(t))
	t.Logf("the target was away for %v; %d accounts are left", back.Sub(down).Round(time.Second), left)
	if left < n {
		t.Errorf("there should be %d", n)
	}
	if !soon(2*backWithin, func() bool { left = len(g.accounts(t)); return left == 0 }) {
		t.Errorf("%d accounts are left %v after the target's return", left, time.Since(back))
	}
	took := time.Since(back)
	t.Logf("they were gone %v after its return", took.Round(time.Millisecond))
	if took > backWithin {
		t.Errorf("that took longer than %v", backWithin)
	}
	l.end()
	w.verdict(t, faults.Row{Fault: "target: down, " + w.form.name(), Rounds: 1, Clean: took}, time.Now(), 0)
	w.punctual(t, down, back)
	w.discharge(t, g)
}
