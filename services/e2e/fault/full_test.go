//go:build e2e

package fault

import (
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/curfew-project/curfew/services/internal/faults"
)

// TestDiskFull takes all room from the disk on which a server of one machine has
// its store, its stream and its record. What still fits is done, the rest refused,
// and nothing is answered that is not durable (A6).
func TestDiskFull(t *testing.T) {
	if !full() || distributed() {
		t.Skipf("it takes minutes, and is about one machine: set %s=1", fullVariable)
	}
	w := open(t)
	s, ok := w.form.(*single)
	if !ok {
		t.Fatal("this is not the form of one machine")
	}
	v := mount(t, "256m", s.dir)
	s.stop(t)
	out, err := exec.CommandContext(t.Context(), "cp", "-a", s.dir+"/.", v.dir).CombinedOutput()
	if err != nil {
		t.Fatalf("move the data: %v: %s", err, out)
	}
	must(t, os.RemoveAll(s.dir), "move the data")
	must(t, os.Symlink(v.dir, s.dir), "move the data")
	w.again(t)

	row := faults.Row{Fault: "store: disk full, " + s.name()}
	c := w.client(t)
	for range 3 {
		l := w.load(t, 2*loadClients)
		l.serve(t, 100)
		brief := w.give(t, c, "brief")
		v.fill(t)
		row.Rounds++
		t.Logf("issuing is answered by: %v", w.refusal(t, c, hang))
		before := l.done.Load()
		for until := time.Now().Add(unwritable / 2); time.Now().Before(until); time.Sleep(time.Second) {
			v.fill(t)
		}
		t.Logf("clients were answered %d times meanwhile; the server runs: %v", l.done.Load()-before, s.running(t, ""))
		w.closes(t, brief)
		v.clear(t)
		up := w.again(t)
		w.book.ends(brief)
		l.serve(t, 50)
		l.end()
		w.settle(t, &row, up)
	}
	w.close(t, &row)
}
