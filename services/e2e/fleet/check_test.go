//go:build e2e

package fleet

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// check waits until nothing moves any more and compares what clients know, what
// the target holds and what the record says.
func (f *fleet) check(t *testing.T) {
	t.Helper()
	f.clear(t)
	var active map[string]string
	took := eventually(t, "clients, target and record agree", func() error {
		var err error
		active, err = f.agree(t)
		return err
	})
	t.Logf("everything agrees after %v: %d accounts, %d leases, %d entries",
		took.Round(10*time.Millisecond), len(active), len(f.record.leases), f.record.entries)
	f.record.lawful(t)
	f.target.logins(t, f.book.holds())
	f.untold(t, active)
	f.verify(t)
	f.fsckClean(t)
}

// fsckClean waits until accounts, leases, index, events, stream and ledger agree,
// as an operator would ask.
func (f *fleet) fsckClean(tb testing.TB) {
	tb.Helper()
	f.run(tb, "fsck", "-wait=60s")
}

// clear asks again for the revocations that were not answered.
func (f *fleet) clear(t *testing.T) {
	t.Helper()
	b, c := f.book, f.client(t)
	for user, cred := range maps.Clone(b.unclear) {
		must(t, revoke(t.Context(), c, cred.lease, false), "revoke what was not answered")
		b.note(func() { b.ended[user] = cred; delete(b.unclear, user) })
	}
}

// agree compares once. It returns the lease ids of all accounts by their names.
func (f *fleet) agree(t *testing.T) (map[string]string, error) {
	t.Helper()
	there := f.target.accounts(t)
	if err := f.read(t); err != nil {
		return nil, err
	}
	active, open := f.record.active()
	if len(open) > 0 {
		return nil, fmt.Errorf("%d leases are on their way: %s", len(open), some(open))
	}
	var wrong []string
	for user := range there {
		if _, ok := active[user]; !ok {
			wrong = append(wrong, user+" is in the target and has no live lease")
		}
	}
	for user, lease := range active {
		if !there[user] {
			wrong = append(wrong, lease+" is active and its account is gone")
		}
	}
	for user, cred := range f.book.held {
		if active[user] != cred.lease {
			wrong = append(wrong, user+" is held and its lease is not active")
		}
	}
	for user, cred := range f.book.ended {
		if h := f.record.leases[cred.lease]; h == nil || h.state() != "revoked" {
			wrong = append(wrong, user+" was promised to go and its lease is not revoked")
		}
	}
	if len(wrong) > 0 {
		return nil, fmt.Errorf("%d things: %s", len(wrong), some(wrong))
	}
	return active, nil
}

// some are the first of many texts.
func some(texts []string) string {
	slices.Sort(texts)
	return strings.Join(texts[:min(len(texts), 5)], "; ")
}

// untold ends the leases that no client was told of. Each needs an attempt that
// was not answered.
func (f *fleet) untold(t *testing.T, active map[string]string) {
	t.Helper()
	c, n := f.client(t), 0
	for user, lease := range active {
		if _, held := f.book.held[user]; held {
			continue
		}
		n++
		must(t, revoke(t.Context(), c, lease, true), "revoke a lease that nobody was told of")
	}
	refused, _ := f.book.trouble()
	failed := refused - f.book.explained
	f.book.explained = refused
	if n > 0 {
		t.Logf("%d leases were active of which no client was told; %d attempts were not answered", n, failed)
	}
	if n > failed {
		t.Errorf("%d leases that no client was told of, but only %d attempts failed", n, failed)
	}
}

// verify runs `curfew audit verify` with the key and the checkpoint that the API
// tells, as somebody outside would keep them.
func (f *fleet) verify(t *testing.T) {
	t.Helper()
	args := []string{"audit", "verify", "-data-dir=" + f.Dir}
	for _, name := range []string{"key", "checkpoint"} {
		var text []byte
		eventually(t, "read the "+name, func() (err error) {
			text, err = f.get(t, "/v1/audit/"+name)
			return err
		})
		file := filepath.Join(t.TempDir(), name)
		must(t, os.WriteFile(file, text, 0o600), "keep the "+name)
		args = append(args, "-"+name+"="+file)
	}
	if out := f.run(t, args...); !strings.Contains(out, "the ledger is what was signed") {
		t.Errorf("verify says:\n%s", out)
	}
}

// lags are how long after its time each of the leases was disabled and gone, by
// the store's clock, shortest first.
func (f *fleet) lags(t *testing.T, creds []credential) (disabled, gone []time.Duration) {
	t.Helper()
	for _, cred := range creds {
		d := f.record.leases[cred.lease].last().Data
		if d.DueAt == nil || d.DisabledAt == nil || d.EndedAt == nil {
			t.Fatalf("the last entry about %s lacks times", cred.lease)
		}
		if d.DisabledAt.Before(*d.DueAt) {
			t.Errorf("%s was disabled %v early", cred.lease, d.DueAt.Sub(*d.DisabledAt))
		}
		disabled = append(disabled, d.DisabledAt.Sub(*d.DueAt))
		gone = append(gone, d.EndedAt.Sub(*d.DueAt))
	}
	slices.Sort(disabled)
	slices.Sort(gone)
	return disabled, gone
}

// spread says how sorted times are spread.
func spread(sorted []time.Duration) string {
	if len(sorted) == 0 {
		return "none"
	}
	at := func(q float64) time.Duration {
		return sorted[int(q*float64(len(sorted)-1))].Round(time.Millisecond)
	}
	return fmt.Sprintf("p50 %v, p99 %v, max %v", at(0.5), at(0.99), at(1))
}

// all revokes everything; nothing is left in the target.
func (f *fleet) all(t *testing.T) {
	t.Helper()
	c := f.client(t)
	for user, cred := range maps.Clone(f.book.held) {
		f.book.ended[user] = cred
		delete(f.book.held, user)
	}
	must(t, c.Sys().RevokePrefixWithContext(t.Context(), "database"), "revoke everything")
	f.check(t)
	if left := f.target.accounts(t); len(left) > 0 {
		t.Error(errors.New(some(slices.Collect(maps.Keys(left)))))
	}
}
