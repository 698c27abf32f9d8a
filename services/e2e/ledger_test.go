//go:build e2e

package e2e

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/curfew-project/curfew/shared/testkit"
)

// verified runs `curfew audit verify` on the ledger of a server, with the key
// and the checkpoint that its API tells, as somebody outside would keep them.
func verified(tb testing.TB, s *curfew) {
	tb.Helper()
	args := []string{"audit", "verify", "-data-dir=" + s.dir}
	for flag, path := range map[string]string{"-key": "/v1/audit/key", "-checkpoint": "/v1/audit/checkpoint"} {
		file := filepath.Join(tb.TempDir(), "text")
		must(tb, os.WriteFile(file, s.mustSend(tb, "GET", path, "").body, 0o600), "keep "+path)
		args = append(args, flag+"="+file)
	}
	out, code := s.run(tb, args...)
	if code != 0 || !strings.Contains(out, "the ledger is what was signed") {
		tb.Errorf("verify ended with %d:\n%s", code, out)
	}
}

// dense fails unless the numbers of all entries run from 1 without a gap (D3),
// and returns the entries.
func dense(tb testing.TB, s *curfew) []entry {
	tb.Helper()
	all := s.entries(tb, url.Values{})
	for i, e := range all {
		if e.Number != int64(i+1) || e.Epoch != 1 {
			tb.Fatalf("entry %d of the record is number %d of epoch %d", i+1, e.Number, e.Epoch)
		}
	}
	return all
}

// TestStreamAndIndexLost kills the server under load and takes its stream away;
// the index is empty after every start anyhow. Nothing is missed: not an event,
// and not an expiry, also not one while the server was down (promise 6).
func TestStreamAndIndexLost(t *testing.T) {
	t.Parallel()
	s := newCurfew(t)
	target := newTarget(t, testkit.CreateRoleAdmin)
	c := newVault(t, s)
	target.setUp(t, c, "database", "1h", "24h")
	target.role(t, c, "database", "brief", s1Creation, "2s", "2s")
	var ended, kept []credential
	for range 3 {
		brief := []credential{issue(t, c, "database/creds/brief"), issue(t, c, "database/creds/brief")}
		revoked := issue(t, c, "database/creds/app")
		must(t, c.revoke(revoked.lease, false), "revoke")
		kept = append(kept, issue(t, c, "database/creds/app"))
		s.kill(t) // what was just committed is not all published
		stream := filepath.Join(s.dir, "nats")
		_, err := os.Stat(stream)
		must(t, err, "find the stream")
		must(t, os.RemoveAll(stream), "delete the stream")
		time.Sleep(2 * time.Second) // the brief ones expire while nobody is there
		s.start(t)
		for _, cred := range append(brief, revoked) {
			target.gone(t, cred.user)
			ended = append(ended, cred)
		}
	}
	for _, cred := range kept {
		if !target.works(t, cred) {
			t.Error("a lease that nobody ended is gone")
		}
		must(t, c.revoke(cred.lease, true), "revoke")
	}
	for _, cred := range append(ended, kept...) {
		all := s.history(t, cred.lease)
		gapless(t, cred.lease, all)
		if got := types(all); got[0] != "lease.intent" || got[1] != "lease.created" || !slices.Contains(got, "lease.revoking") {
			t.Errorf("the record of %s is %v", cred.lease, got)
		}
	}
	seen := map[string]bool{}
	for _, e := range dense(t, s) {
		seen[e.Subject] = true
	}
	for _, cred := range append(ended, kept...) {
		want(t, "the record knows "+cred.lease, seen[cred.lease], true)
	}
	verified(t, s)
}

// TestOneByte changes one byte of the ledger, in every file of it: verification
// fails and names the file.
func TestOneByte(t *testing.T) {
	t.Parallel()
	s := newCurfew(t)
	c := newBao(t, s)
	for n := range 20 {
		_, err := c.lookupSelf()
		must(t, err, "make an entry")
		if n%4 > 0 {
			continue
		}
		eventually(t, hang, func() error { // so that not all of them come in one batch
			there := 0
			for _, e := range s.entries(t, url.Values{}) {
				if e.Data.Path == "auth/token/lookup-self" {
					there++
				}
			}
			if there <= n {
				return fmt.Errorf("the record has %d of the %d entries", there, n+1)
			}
			return nil
		})
	}
	code, _ := s.stop(t)
	want(t, "exit code", code, 0)
	ledger := filepath.Join(s.dir, "audit", "ledger")
	files := 0
	must(t, filepath.WalkDir(ledger, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !signed(d.Name()) {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil || len(text) == 0 {
			return err
		}
		files++
		changed := slices.Clone(text)
		at := rand.IntN(len(text))
		changed[at] ^= 1 << rand.IntN(8)
		if err := os.WriteFile(path, changed, 0o600); err != nil {
			return err
		}
		name, err := filepath.Rel(ledger, path)
		if err != nil {
			return err
		}
		out, code := s.run(t, "audit", "verify", "-data-dir="+s.dir)
		place := name
		if name == "checkpoint.pub" {
			place = "public key"
		}
		if code == 0 || !strings.Contains(out, place) {
			t.Errorf("byte %d of %s was changed from %q to %q; verify ended with %d:\n%s", at, name, text[at], changed[at], code, out)
		}
		return os.WriteFile(path, text, 0o600)
	}), "walk the ledger")
	if files < 10 { // five batches at least, each with its entries and hashes
		t.Errorf("the ledger has only %d files", files)
	}
	out, code := s.run(t, "audit", "verify", "-data-dir="+s.dir)
	if code != 0 {
		t.Errorf("with its own bytes again, verify ended with %d:\n%s", code, out)
	}
}

// signed reports whether a file is part of what was signed: not the locks, the
// private key, nor the library's own note of what it has collected (gcState,
// which is there once it has), from which nothing is proved.
func signed(name string) bool {
	return !slices.Contains([]string{"lock", "checkpoint.key", "gcState"}, name) && !strings.HasSuffix(name, ".lock")
}
