//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/curfew-project/curfew/shared/fsck"
	"github.com/curfew-project/curfew/shared/testkit"
)

// fsck runs `curfew fsck` and returns what it says, and its exit code.
func (c *curfew) fsck(tb testing.TB, args ...string) (r fsck.Report, code int) {
	tb.Helper()
	out, code := c.run(tb, append([]string{"fsck", "-format=json"}, args...)...)
	from := strings.IndexByte(out, '{')
	if from < 0 {
		tb.Fatalf("fsck ended with %d and says:\n%s", code, out)
	}
	must(tb, json.Unmarshal([]byte(out[from:]), &r), "decode what fsck says: "+out)
	if got := r.Code(); got != code {
		tb.Errorf("fsck ended with %d, and its report is worth %d:\n%s", code, got, out)
	}
	return r, code
}

// fsckClean waits until accounts, leases, index, events, stream and ledger agree
// and fails with what does not.
func fsckClean(tb testing.TB, c *curfew, within time.Duration) {
	tb.Helper()
	began := time.Now()
	r, _ := c.fsck(tb, "-wait="+within.String())
	if !r.Clean {
		tb.Fatalf("fsck is not clean within %v:\n%s", within, told(&r))
	}
	tb.Logf("fsck is clean after %v and %d looks: %d leases, %d accounts, %d entries",
		time.Since(began).Round(10*time.Millisecond), r.Looks, r.Counts.Leases, r.Counts.Accounts, r.Counts.Entries)
}

// told is a report for a log.
func told(r *fsck.Report) string {
	var lines []string
	for _, f := range r.Disagreements {
		lines = append(lines, fmt.Sprintf("%s %s %s %s: %s (%s)", f.Kind, f.Target, f.Account, f.Lease, f.Seen, f.Heals))
	}
	for _, g := range r.Unseen {
		lines = append(lines, fmt.Sprintf("not looked at: %s %s: %s", g.Part, g.What, g.Why))
	}
	return strings.Join(lines, "\n")
}

// one fails unless a report has exactly one disagreement, of that kind and about
// that account or lease, and returns it.
func one(tb testing.TB, r *fsck.Report, code int, kind fsck.Kind, about string) fsck.Finding {
	tb.Helper()
	if len(r.Disagreements) != 1 || code != 1 {
		tb.Fatalf("fsck ended with %d, want 1 and one disagreement:\n%s", code, told(r))
	}
	f := r.Disagreements[0]
	if f.Kind != kind || about != f.Account && about != string(f.Lease) || f.Heals == "" {
		tb.Fatalf("fsck reports %+v, want %s about %s", f, kind, about)
	}
	return f
}

// TestFsck: what somebody does behind the server's back is reported, each once
// and with what heals it, and nothing is left when that is done.
func TestFsck(t *testing.T) {
	t.Parallel()
	s := newCurfew(t, `expiry { stray_sweep = "1h" }`) // it must not be faster than the test
	target := newTarget(t, testkit.CreateRoleAdmin)
	c := newBao(t, s)
	target.setUp(t, c, "database", "1h", "24h")
	held := issue(t, c, "database/creds/app")
	fsckClean(t, s, rolledBackWithin)

	t.Run("account without a lease", func(t *testing.T) {
		stray := target.stray(t, c)
		r, code := s.fsck(t)
		f := one(t, &r, code, fsck.StrayAccount, stray)
		if !strings.Contains(f.Heals, "stray sweep") || f.By.IsZero() || f.Target != "database/config/db" {
			t.Errorf("it says %+v", f)
		}
		if out, _ := s.run(t, "fsck"); !strings.Contains(out, stray) || !strings.Contains(out, "heals: the stray sweep") {
			t.Errorf("the table says:\n%s", out)
		}
		target.Exec(t, target.database, fmt.Sprintf(`DROP ROLE %q`, stray))
		fsckClean(t, s, rolledBackWithin)
	})
	t.Run("active lease without its account", func(t *testing.T) {
		cred := issue(t, c, "database/creds/app")
		target.Exec(t, target.database, fmt.Sprintf(`DROP OWNED BY %q`, cred.user))
		target.Exec(t, target.database, fmt.Sprintf(`DROP ROLE %q`, cred.user))
		r, code := s.fsck(t)
		f := one(t, &r, code, fsck.MissingAccount, cred.lease)
		if !strings.Contains(f.Heals, "curfew lease revoke "+cred.lease) {
			t.Errorf("it says %+v", f)
		}
		must(t, c.revoke(cred.lease, true), "do what it says")
		fsckClean(t, s, rolledBackWithin)
	})
	t.Run("target away", func(t *testing.T) {
		_, err := c.write("database/config/nowhere", map[string]any{
			"plugin_name": "postgresql-database-plugin", "allowed_roles": "*", "verify_connection": false,
			"connection_url": "postgresql://{{username}}:{{password}}@127.0.0.1:1/nowhere?sslmode=disable", "username": "x", "password": "y",
		})
		must(t, err, "configure a connection to nothing")
		r, code := s.fsck(t)
		if code != 2 || len(r.Unseen) != 1 || r.Unseen[0].What != "database/config/nowhere" || len(r.Disagreements) > 0 {
			t.Errorf("fsck ended with %d: %s", code, told(&r))
		}
		must(t, c.remove("database/config/nowhere"), "delete the connection")
		fsckClean(t, s, rolledBackWithin)
	})
	t.Run("without sudo", func(t *testing.T) {
		root := s.root
		defer func() { s.root = root }()
		s.root = "hvs.none"
		if r, code := s.fsck(t); code != 2 || len(r.Unseen) == 0 {
			t.Errorf("fsck ended with %d: %s", code, told(&r))
		}
	})
	t.Run("stopped", func(t *testing.T) { fsckStopped(t, s, target, c, held) })
}

// fsckStopped reads the directory of a server that does not run: after an orderly
// stop, after a kill, and with a ledger that was put back.
func fsckStopped(t *testing.T, s *curfew, target *target, c client, held credential) {
	t.Helper()
	oneMachine(t, "the other has no directory that holds everything")
	files := "-data-dir=" + s.dir
	if out, code := s.run(t, "fsck", files); code != 2 || !strings.Contains(out, "a server runs on this directory") {
		t.Errorf("fsck of a directory in use ended with %d:\n%s", code, out)
	}
	older := filepath.Join(t.TempDir(), "ledger")
	s.stop(t)
	copyTree(t, filepath.Join(s.dir, "audit", "ledger"), older)
	if r, _ := s.fsck(t, files); !tail(&r) || len(r.Unseen) > 0 || r.Counts.Accounts != 1 || r.Counts.Leases != 2 {
		t.Errorf("after a stop in order fsck says %+v\n%s", r.Counts, told(&r))
	}
	s.start(t)
	fresh := issue(t, c, "database/creds/app")
	fsckClean(t, s, rolledBackWithin)
	s.stop(t)
	newer := filepath.Join(t.TempDir(), "ledger")
	copyTree(t, filepath.Join(s.dir, "audit", "ledger"), newer)
	putBack(t, older, filepath.Join(s.dir, "audit", "ledger"))
	r, code := s.fsck(t, files)
	var behind, unknown int
	for _, f := range r.Disagreements {
		switch {
		case f.Kind == fsck.LedgerBehind:
			behind++
		case f.Kind == fsck.Unknown && string(f.Lease) == fresh.lease:
			unknown++
		}
	}
	if code != 1 || behind != 1 || unknown != 1 {
		t.Errorf("with an older ledger fsck ended with %d:\n%s", code, told(&r))
	}
	putBack(t, newer, filepath.Join(s.dir, "audit", "ledger"))
	if r, _ := s.fsck(t, files); !tail(&r) || len(r.Unseen) > 0 {
		t.Errorf("with the ledger back fsck says:\n%s", told(&r))
	}
	must(t, os.Rename(filepath.Join(s.dir, "seal.key"), filepath.Join(s.dir, "kept.key")), "take the key away")
	if r, code := s.fsck(t, files); code == 0 || !tail(&r) || len(r.Unseen) != 1 || r.Unseen[0].Part != fsck.PartTargets {
		t.Errorf("without the master key fsck ended with %d:\n%s", code, told(&r))
	}
	must(t, os.Rename(filepath.Join(s.dir, "kept.key"), filepath.Join(s.dir, "seal.key")), "give the key back")
	s.start(t)
	issue(t, c, "database/creds/app")
	s.kill(t)
	r, code = s.fsck(t, files) // what it says is true of that moment; that it says it is what counts
	t.Logf("after a kill fsck of the directory ended with %d:\n%s", code, told(&r))
	if len(r.Unseen) > 0 {
		t.Errorf("after a kill fsck could not look at everything: %s", told(&r))
	}
	s.start(t)
	fsckClean(t, s, rolledBackWithin)
	if !target.works(t, held) {
		t.Error("a credential that a client holds was taken away")
	}
}

// tail reports whether nothing disagrees but the last events, of requests that a
// stop followed at once: they wait in the store for the next start.
func tail(r *fsck.Report) bool {
	return !slices.ContainsFunc(r.Disagreements, func(f fsck.Finding) bool {
		return f.Part != fsck.PartEvents || !strings.Contains(f.Heals, "once the server runs")
	})
}

// TestFsckStraySwept waits for the healer that the report names.
func TestFsckStraySwept(t *testing.T) {
	t.Parallel()
	s := newCurfew(t, `expiry { stray_sweep = "2s" }`)
	target := newTarget(t, testkit.CreateRoleAdmin)
	c := newBao(t, s)
	target.setUp(t, c, "database", "1h", "24h")
	stray := target.stray(t, c)
	fsckClean(t, s, hang)
	if target.exists(t, stray) {
		t.Error("fsck is clean and the stray account is there")
	}
	for _, e := range dense(t, s) {
		if e.Type == "account.stray" && e.Data.Account == stray {
			return
		}
	}
	t.Error("the record has no stray account")
}
