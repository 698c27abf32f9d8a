//go:build e2e

package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/curfew-project/curfew/shared/testkit"
)

// masterKey is what a person reads in the key file.
func (c *curfew) masterKey(tb testing.TB) string {
	tb.Helper()
	file := filepath.Join(c.dir, "seal.key")
	if p, ok := c.form.(*place); ok {
		file = p.topology.KeyFile()
	}
	text, err := os.ReadFile(file)
	must(tb, err, "read the key file")
	return strings.TrimSpace(string(text))
}

// shows reports whether a table has a row, however wide its columns are.
func shows(table, row string) bool {
	for line := range strings.Lines(table) {
		if strings.Join(strings.Fields(line), " ") == row {
			return true
		}
	}
	return false
}

// sealed waits until every answer is that of a sealed server: all issuers behind
// one address have heard of it.
func (c *curfew) sealed(tb testing.TB) {
	tb.Helper()
	eventually(tb, hang, func() error {
		for range 8 {
			r, err := c.send(http.MethodGet, "/v1/sys/health", "", "", nil)
			if err != nil {
				return err
			}
			if r.status != http.StatusServiceUnavailable || !strings.Contains(string(r.body), `"sealed":true`) {
				return fmt.Errorf("health is %d %s", r.status, r.body)
			}
		}
		return nil
	})
}

// TestSeal: a sealed API serves nothing and issues nothing, and every due lease
// still ends on time (C10); nothing but the key ends a seal, not even kill -9 of
// everything.
func TestSeal(t *testing.T) {
	t.Parallel()
	s := newCurfew(t)
	c := newVault(t, s)
	target := newTarget(t, testkit.CreateRoleAdmin)
	target.setUp(t, c, "database", "3s", "1h")
	target.role(t, c, "database", "long", s1Creation, "20s", "1h")
	short, long := issue(t, c, "database/creds/app"), issue(t, c, "database/creds/long")

	if out, code := s.run(t, "operator", "seal"); code != 0 || out != "Success! Vault is sealed.\n" {
		t.Fatalf("seal: exit %d: %s", code, out)
	}
	closed := func() {
		t.Helper()
		s.sealed(t)
		for range 4 {
			if r := s.mustSend(t, http.MethodGet, "/v1/database/creds/app", ""); r.status != http.StatusServiceUnavailable || strings.Join(r.errors(), "") != "Vault is sealed" {
				t.Errorf("while it is sealed: %d %s", r.status, r.body)
			}
		}
		if out, code := s.run(t, "status"); code != 2 || !shows(out, "Sealed true") {
			t.Errorf("status: exit %d: %s", code, out)
		}
		if out, code := s.run(t, "read", "database/creds/app"); code != 2 || !strings.Contains(out, "* Vault is sealed") {
			t.Errorf("read: exit %d: %s", code, out)
		}
	}
	closed()
	if !target.works(t, long) {
		t.Error("the seal took a credential away before its time")
	}
	target.gone(t, short.user)

	s.kill(t)
	s.launch(t)
	closed()
	target.gone(t, long.user)
	if out, code := s.run(t, "operator", "unseal", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="); code != 2 || !strings.Contains(out, "Code: 400") {
		t.Errorf("unseal with another key: exit %d: %s", code, out)
	}
	closed()
	key := s.masterKey(t)
	if out, code := s.run(t, "operator", "unseal", key); code != 0 || !shows(out, "Sealed false") {
		t.Errorf("unseal: exit %d: %s", code, out)
	}
	s.await(t)
	eventually(t, hang, func() error { // every issuer has heard of it
		for range 8 {
			r, err := s.send(http.MethodGet, "/v1/sys/health", "", "", nil)
			if err != nil {
				return err
			}
			if r.status != http.StatusOK {
				return fmt.Errorf("health is %d %s", r.status, r.body)
			}
		}
		return nil
	})
	target.gone(t, issue(t, c, "database/creds/app").user)
	onTime(t, s, short.lease)
	onTime(t, s, long.lease)
	if strings.Contains(s.output(t), key) {
		t.Error("the key is in the output")
	}
}

// initialised runs operator init, and returns the keys that it printed.
func (c *curfew) initialised(t *testing.T, args ...string) (keys []string) {
	t.Helper()
	out, code := c.run(t, append([]string{"operator", "init"}, args...)...)
	for line := range strings.Lines(out) {
		line = strings.TrimSpace(line)
		if what, key, ok := strings.Cut(line, ": "); ok && strings.HasPrefix(what, "Unseal Key ") {
			keys = append(keys, key)
		}
		if token, ok := strings.CutPrefix(line, "Initial Root Token: "); ok {
			c.root = token
		}
	}
	if code != 0 || len(keys) == 0 || c.root == "" {
		t.Fatalf("init: exit %d: %s", code, out)
	}
	return keys
}

// healthy waits for a status of health.
func (c *curfew) healthy(t *testing.T, want int) {
	t.Helper()
	eventually(t, hang, func() error {
		r, err := c.send(http.MethodGet, "/v1/sys/health", "", "", nil)
		if err == nil && r.status != want {
			err = fmt.Errorf("health is %d, want %d", r.status, want)
		}
		return err
	})
}

// TestManualSeal is recording 01: a server that keeps no key is sealed until it
// is given it, after each start, and gives it out once.
func TestManualSeal(t *testing.T) {
	t.Parallel()
	oneMachine(t, "the programs of the other form have nowhere to be given a key")
	s := unstarted(t, "auto_init = false", "auto_unseal = false")
	s.launch(t)
	t.Cleanup(func() { s.kill(t) })
	s.healthy(t, http.StatusNotImplemented)
	if out, code := s.run(t, "status"); code != 2 || !shows(out, "Initialized false") || !shows(out, "Unseal Progress 0/0") {
		t.Errorf("status before: exit %d: %s", code, out)
	}
	key := s.initialised(t, "-key-shares=1", "-key-threshold=1")[0]
	if out, code := s.run(t, "operator", "init"); code != 2 || !strings.Contains(out, "Vault is already initialized") {
		t.Errorf("init again: exit %d: %s", code, out)
	}
	for n := range 2 {
		s.healthy(t, http.StatusServiceUnavailable)
		if out, code := s.run(t, "read", "sys/mounts"); code != 2 || !strings.Contains(out, "Vault is sealed") {
			t.Errorf("sealed: exit %d: %s", code, out)
		}
		if out, code := s.run(t, "operator", "unseal", key); code != 0 {
			t.Fatalf("unseal: exit %d: %s", code, out)
		}
		s.healthy(t, http.StatusOK)
		eventually(t, hang, func() error { // the roles run
			if out, code := s.run(t, "operator", "installation"); code != 0 {
				return fmt.Errorf("exit %d: %s", code, out)
			}
			return nil
		})
		if n == 0 {
			s.kill(t)
			s.launch(t)
		}
	}
	c := newVault(t, s)
	target := newTarget(t, testkit.CreateRoleAdmin)
	target.setUp(t, c, "database", "2s", "1h")
	target.gone(t, issue(t, c, "database/creds/app").user)
	if text := s.output(t); strings.Contains(text, key) || strings.Contains(text, s.root) {
		t.Error("key or token is in the output")
	}
}

// TestKeyInShares: who starts a server as its stock counterpart's manual says gets
// five keys, of which any three unseal it; a wrong one is refused at once and
// costs nothing, and a restart in between forgets what was given.
func TestKeyInShares(t *testing.T) {
	t.Parallel()
	oneMachine(t, "the programs of the other form have nowhere to be given a key")
	s := unstarted(t, "auto_init = false", "auto_unseal = false")
	s.launch(t)
	t.Cleanup(func() { s.kill(t) })
	s.healthy(t, http.StatusNotImplemented)
	keys := s.initialised(t, "-key-shares=5", "-key-threshold=3")
	if len(keys) != 5 {
		t.Fatalf("%d keys, want 5", len(keys))
	}
	give := func(key, progress string) {
		t.Helper()
		if out, code := s.run(t, "operator", "unseal", key); code != 0 || !shows(out, "Sealed true") || !shows(out, "Unseal Progress "+progress) {
			t.Errorf("unseal: exit %d: %s", code, out)
		}
	}
	s.healthy(t, http.StatusServiceUnavailable)
	give(keys[4], "1/3")
	give(keys[4], "1/3")
	if out, code := s.run(t, "operator", "unseal", "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"); code != 2 || !strings.Contains(out, "Code: 400") {
		t.Errorf("unseal with another key: exit %d: %s", code, out)
	}
	give(keys[0], "2/3")
	if out, code := s.run(t, "operator", "unseal", "-reset"); code != 0 || !shows(out, "Unseal Progress 0/3") {
		t.Errorf("reset: exit %d: %s", code, out)
	}
	give(keys[1], "1/3")
	give(keys[2], "2/3")
	s.kill(t)
	s.launch(t)
	s.healthy(t, http.StatusServiceUnavailable)
	give(keys[3], "1/3")
	give(keys[0], "2/3")
	if out, code := s.run(t, "operator", "unseal", keys[2]); code != 0 || !shows(out, "Sealed false") || !shows(out, "Total Shares 5") {
		t.Fatalf("unseal: exit %d: %s", code, out)
	}
	s.healthy(t, http.StatusOK)
	c := newVault(t, s)
	target := newTarget(t, testkit.CreateRoleAdmin)
	target.setUp(t, c, "database", "2s", "1h")
	target.gone(t, issue(t, c, "database/creds/app").user)

	if out, code := s.run(t, "operator", "seal"); code != 0 {
		t.Fatalf("seal: exit %d: %s", code, out)
	}
	s.sealed(t)
	give(keys[2], "1/3")
	give(keys[1], "2/3")
	if out, code := s.run(t, "operator", "unseal", keys[0]); code != 0 || !shows(out, "Sealed false") {
		t.Fatalf("unseal: exit %d: %s", code, out)
	}
	text := s.output(t)
	for _, key := range append(keys, s.root) {
		if strings.Contains(text, key) {
			t.Error("key or token is in the output")
		}
	}
}
