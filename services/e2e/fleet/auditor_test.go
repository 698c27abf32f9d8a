//go:build e2e

package fleet

import (
	"bufio"
	"encoding/json"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/curfew-project/curfew/services/internal/topology"
)

// takeoverWithin is the promise, about ten seconds, with room for a busy machine.
const takeoverWithin = 30 * time.Second

// lockLasts is how long the lock in the store outlives who has it.
const lockLasts = 10 * time.Second

// auditorGone kills the auditor that appends, under load: another takes
// over, the record stays dense, and readers of the stream miss nothing (D5).
func auditorGone(t *testing.T, f *fleet) {
	t.Helper()
	reader := f.follow(t)
	for range 2 {
		l := f.load(t, 4)
		l.more(t, 50)
		f.caughtUp(t)
		first := f.appender(t)
		f.kill(t, first)
		killed := time.Now()
		l.more(t, 20)
		eventually(t, "another auditor appends", func() error {
			if now := f.appender(t); now == first {
				return errors.New("none does")
			}
			return nil
		})
		took := time.Since(killed)
		t.Logf("%s was killed; %s appends %v later", first, f.appender(t), took.Round(time.Millisecond))
		if took > takeoverWithin {
			t.Errorf("that took longer than %v", takeoverWithin)
		}
		l.more(t, 50)
		if errors := l.stop(t); len(errors) > 0 {
			t.Errorf("%d requests failed", len(errors))
		}
		f.start(t)
		f.check(t)
		reader.caught(t, f)
	}
	t.Run("both", func(t *testing.T) { f.bothAuditors(t, reader) })
	t.Run("frozen", func(t *testing.T) { f.auditorFrozen(t, reader) })
	t.Run("in order", func(t *testing.T) { f.auditorStopped(t, reader) })
}

// bothAuditors: without any auditor leases live on, and what was done is in the
// record afterwards.
func (f *fleet) bothAuditors(t *testing.T, reader *follower) {
	t.Helper()
	auditors := f.named("auditor-")
	f.kill(t, auditors...)
	c := f.client(t)
	f.lives(t, c)
	f.start(t)
	f.check(t)
	reader.caught(t, f)
}

// auditorFrozen: while the one that appends hangs, nobody writes into the ledger
// beside it, whoever has the lock in the store; what was done meanwhile is in the
// record once it goes on, or has ended (D5).
func (f *fleet) auditorFrozen(t *testing.T, reader *follower) {
	t.Helper()
	for _, killed := range []bool{false, true} {
		first := f.appender(t)
		thaw := f.freeze(t, first)
		frozen := time.Now()
		if !killed {
			f.readable(t)
		}
		for again := true; again; again = time.Since(frozen) < lockLasts+2*time.Second {
			f.lives(t, f.client(t))
		}
		hung := time.Since(frozen)
		if killed {
			f.kill(t, first)
			f.start(t)
		} else {
			thaw()
		}
		f.check(t)
		t.Logf("%s hung for %v, killed: %t; %s appends", first, hung.Round(time.Second), killed, f.appender(t))
		reader.caught(t, f)
	}
}

// readable: the record is served by the auditor that is left, whichever issuer is
// asked. What hangs may cost each of them one wait.
func (f *fleet) readable(t *testing.T) {
	t.Helper()
	for range 2 * len(f.named("issuer-")) {
		began := time.Now()
		_, err := f.get(t, "/v1/audit/entries?limit=1")
		must(t, err, "read the record while an auditor hangs")
		t.Logf("the record was read in %v", time.Since(began).Round(time.Millisecond))
	}
}

// auditorStopped: one that stops in order gives the ledger up at once.
func (f *fleet) auditorStopped(t *testing.T, reader *follower) {
	t.Helper()
	first := f.appender(t)
	f.stop(t, first)
	stopped := time.Now()
	f.lives(t, f.client(t))
	f.caughtUp(t)
	t.Logf("%s was stopped; the record has what came then %v later", first, time.Since(stopped).Round(time.Millisecond))
	f.start(t)
	f.check(t)
	reader.caught(t, f)
}

// caughtUp waits until the record has what was done by now.
func (f *fleet) caughtUp(t *testing.T) {
	t.Helper()
	cred := f.hold(t, f.client(t))
	eventually(t, "the record catches up", func() error {
		if err := f.read(t); err != nil {
			return err
		}
		if f.record.leases[cred.lease] == nil {
			return errors.New("the latest lease is not in it")
		}
		return nil
	})
}

// appender is the auditor that began to append last, as their logs tell.
func (f *fleet) appender(t *testing.T) string {
	t.Helper()
	name, highest := "", int64(0)
	for _, auditor := range f.named("auditor-") {
		program, ok := f.part(t, auditor).(*topology.Program)
		if !ok {
			t.Fatalf("%s is no program", auditor)
		}
		file, err := os.Open(program.Log())
		must(t, err, "open a log")
		for lines := bufio.NewScanner(file); lines.Scan(); {
			var line struct {
				Message string
				Fence   int64
			}
			if json.Unmarshal(lines.Bytes(), &line) == nil && line.Message == "this auditor appends" && line.Fence > highest {
				name, highest = auditor, line.Fence
			}
		}
		must(t, file.Close(), "close a log")
	}
	if name == "" {
		t.Fatal("no auditor says that it appends")
	}
	return name
}
