//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/curfew-project/curfew/services/internal/child"
	"github.com/curfew-project/curfew/shared/testkit/server"
)

// rendered is what becomes of the template of the articles' agent (S1.4).
var rendered = regexp.MustCompile(`^export DB_USER="(v-[a-z0-9-]+)"\nexport DB_PASS="([A-Za-z0-9-]{24})"\n$`)

// templates is a consul-template that renders credentials for an application.
type templates struct {
	child *child.Child
	file  string // what is rendered
	runs  string // a line for each run of its command
	log   output
}

// startTemplates starts it with a token that may read the credentials of readonly.
func startTemplates(tb testing.TB, s *curfew, token string) *templates {
	tb.Helper()
	program, err := filepath.Abs(filepath.Join(installed, "consul-template"))
	must(tb, err, "find consul-template")
	foreign(tb, "consul-template", program, "--version")
	dir := tb.TempDir()
	t := &templates{file: filepath.Join(dir, "db.env"), runs: filepath.Join(dir, "reloaded")}
	must(tb, os.WriteFile(filepath.Join(dir, "db.tpl"), []byte(articles(tb)["S1.4/db.tpl"]), 0o600), "write the template")
	config := filepath.Join(dir, "config.hcl")
	must(tb, os.WriteFile(config, fmt.Appendf(nil, `
vault {
  address     = %q
  renew_token = true
}
template {
  source      = %q
  destination = %q
  perms       = 0600
  command     = ["sh", "-c", "echo again >> %s"]
}
`, s.url(), filepath.Join(dir, "db.tpl"), t.file, t.runs), 0o600), "write the configuration")
	cmd := exec.Command(program, "-config="+config)
	cmd.Env = append(server.Environ(os.Environ(), s.home), "VAULT_TOKEN="+token)
	cmd.Stdout, cmd.Stderr = &t.log, &t.log
	t.child, err = child.Start(cmd)
	must(tb, err, "start consul-template")
	tb.Cleanup(func() {
		must(tb, t.child.Kill(), "end consul-template")
		if tb.Failed() {
			tb.Logf("the log of consul-template ends:\n%s", t.log.tail())
		}
	})
	return t
}

// next waits until the file holds another credential than before, whole at
// every look.
func (t *templates) next(tb testing.TB, before credential) (now credential) {
	tb.Helper()
	eventually(tb, hang, func() error {
		if !t.child.Running() {
			tb.Fatalf("consul-template ended with %d", t.child.ExitCode())
		}
		text, err := os.ReadFile(t.file)
		if err != nil {
			return err
		}
		found := rendered.FindStringSubmatch(string(text))
		if found == nil {
			tb.Fatal("the file is not what the template says")
		}
		now = credential{user: found[1], password: found[2]}
		if now.user == before.user {
			return fmt.Errorf("the file still has account %s", now.user)
		}
		return nil
	})
	return now
}

// reloads waits until its command ran n times.
func (t *templates) reloads(tb testing.TB, n int) {
	tb.Helper()
	eventually(tb, hang, func() error {
		text, err := os.ReadFile(t.runs)
		if got := strings.Count(string(text), "\n"); err == nil && got != n {
			err = fmt.Errorf("the command ran %d times, want %d", got, n)
		}
		return err
	})
}

// consulTemplate: it renders a credential, renews its lease, and
// renders a new one when the lease has reached its ceiling, and when it was
// revoked.
func (h *host) consulTemplate(t *testing.T) {
	t.Helper()
	in := h.letIn(t, "readonly", patience, patienceEnds, map[string]any{"token_ttl": "1h"})
	login, err := h.root.as(t, "").write("auth/approle/login", map[string]any{"role_id": in.roleID, "secret_id": in.secretID})
	must(t, err, "log in")
	ct := startTemplates(t, h.server, login.Token)

	first := ct.next(t, credential{})
	want(t, "the credential in the file works", h.target.works(t, first), true)
	ct.reloads(t, 1)
	keys, err := h.root.list("sys/leases/lookup/database/creds/readonly")
	must(t, err, "list the leases")
	if len(keys.keys()) != 1 {
		t.Fatalf("one template has leases %v", keys.keys())
	}
	lease := "database/creds/readonly/" + keys.keys()[0]
	second := ct.next(t, first)
	want(t, "the credential of the second rendering works", h.target.works(t, second), true)
	renewals := 0
	for _, e := range h.server.history(t, lease) {
		if e.Type == "lease.renewed" {
			renewals++
		}
	}
	if renewals < 2 { // one at once, one in time
		t.Errorf("the lease was renewed %d times", renewals)
	}
	h.target.gone(t, first.user)
	must(t, h.root.revokePrefix("database/creds/readonly", true), "revoke")
	want(t, "the revoked credential works", h.target.works(t, second), false)
	third := ct.next(t, second)
	want(t, "the credential of the third rendering works", h.target.works(t, third), true)
	ct.reloads(t, 3)

	self, err := h.root.as(t, login.Token).lookupSelf()
	must(t, err, "look up its token")
	if at := self.Data["last_renewal"]; at == nil {
		t.Error("it did not renew its token")
	}
	must(t, ct.child.Signal(syscall.SIGINT), "end it")
	<-ct.child.Ended()
}
