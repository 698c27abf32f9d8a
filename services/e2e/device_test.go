//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	vault "github.com/hashicorp/vault/api"

	"github.com/curfew-project/curfew/shared/testkit"
)

// deviceFile is where the file of an audit device is whose path is not absolute.
func (c *curfew) deviceFile(name string) string {
	if p, ok := c.form.(*place); ok {
		return filepath.Join(p.topology.LogDir(), name)
	}
	return filepath.Join(c.dir, name)
}

// hangUp sends SIGHUP to whoever writes audit devices.
func (c *curfew) hangUp(tb testing.TB) {
	tb.Helper()
	switch f := c.form.(type) {
	case *process:
		must(tb, f.child.Signal(syscall.SIGHUP), "hang up")
	case *place:
		for _, p := range f.programs(tb) {
			if strings.HasPrefix(p.Name(), "auditor") {
				must(tb, syscall.Kill(p.Pid(), syscall.SIGHUP), "hang up")
			}
		}
	}
}

// auditLine is what a reader of Vault's audit files looks at.
type auditLine struct {
	Time, Type, Error string
	Auth              struct {
		ClientToken string `json:"client_token"`
		Accessor    string
		DisplayName string `json:"display_name"`
		Policies    []string
		TokenType   string `json:"token_type"`
	}
	Request struct {
		ID, Operation, Path string
		MountType           string `json:"mount_type"`
		ClientToken         string `json:"client_token"`
		RemoteAddress       string `json:"remote_address"`
		Data                map[string]string
	}
	Response *struct {
		Secret *struct {
			LeaseID string `json:"lease_id"`
		}
		Auth *struct {
			ClientToken string `json:"client_token"`
		}
		Data map[string]string
	}
	Curfew struct {
		Event     string
		EventType string `json:"event_type"`
		LeaseID   string `json:"lease_id"`
	}
}

// auditLines are those of files; each is JSON.
func auditLines(tb testing.TB, files ...string) (all []auditLine, text string) {
	tb.Helper()
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if os.IsNotExist(err) {
			continue
		}
		must(tb, err, "read an audit file")
		text += string(raw)
		for line := range strings.Lines(string(raw)) {
			if !strings.HasSuffix(line, "\n") {
				continue // it is being written
			}
			var l auditLine
			if err := json.Unmarshal([]byte(line), &l); err != nil {
				tb.Fatalf("%s has the line %q: %v", file, line, err)
			}
			all = append(all, l)
		}
	}
	return all, text
}

// matching are the lines that fit.
func matching(all []auditLine, fits func(*auditLine) bool) (out []auditLine) {
	for _, l := range all {
		if fits(&l) {
			out = append(out, l)
		}
	}
	return out
}

// TestAuditDevice: the first article's policy and audit device. What is issued,
// renewed, refused and taken away, also by time alone, is in the file as Vault's
// readers expect it, and no secret is; a person finds a value by its hash. The
// file is rotated, the server is killed, and nothing is missing.
func TestAuditDevice(t *testing.T) {
	t.Parallel()
	s := newCurfew(t)
	target := newTarget(t, testkit.CreateRoleAdmin)
	root := newVault(t, s)
	library, ok := root.(*vaultClient)
	if !ok {
		t.Fatal("not Vault's library")
	}
	sys := library.api.Sys()
	target.setUp(t, root, "database", "1h", "24h")
	target.role(t, root, "database", "brief", s1Creation, "1s", "1s")
	command := func(code int, says string, args ...string) {
		t.Helper()
		if out, got := s.run(t, args...); got != code || !strings.Contains(out, says) {
			t.Errorf("curfew %s ended with %d:\n%s\nwant %d and %q", strings.Join(args, " "), got, out, code, says)
		}
	}
	policy := filepath.Join(t.TempDir(), "app.hcl")
	must(t, os.WriteFile(policy, []byte("path \"database/creds/readonly\" {\n  capabilities = [\"read\"]\n}\npath \"database/creds/brief\" {\n  capabilities = [\"read\"]\n}\n"), 0o600), "write the policy")
	target.role(t, root, "database", "readonly", s1Creation, "1h", "24h")
	command(0, "Success! Uploaded policy: app", "policy", "write", "app", policy)
	command(2, "No audit devices are enabled.", "audit", "list", "-detailed")
	command(0, "Success! Enabled the file audit device at: file/", "audit", "enable", "file", "file_path=./vault_audit.log")
	command(0, "file/    file    n/a            replicated     file_path=./vault_audit.log", "audit", "list", "-detailed")
	command(2, "* path already in use", "audit", "enable", "file", "file_path=./vault_audit.log")
	command(2, `* sanity check failed; unable to open "/proc/nope/a.log" for writing: `, "audit", "enable", "-path=f2", "file", "file_path=/proc/nope/a.log")
	command(2, "executable", "audit", "enable", "-path=f2", "file", "file_path=x.log", "mode=0755")
	path := s.deviceFile("vault_audit.log")
	info, err := os.Stat(path)
	must(t, err, "look at the file")
	want(t, "mode", info.Mode().Perm(), 0o600)
	must(t, sys.EnableAuditWithOptions("plain", &vault.EnableAuditOptions{
		Type: "file", Options: map[string]string{"file_path": "plain.log", "hmac_accessor": "false", "mode": "0640"},
	}), "enable a device by the library")

	token, err := library.api.Auth().Token().Create(&vault.TokenCreateRequest{Policies: []string{"app"}, TTL: "1h", DisplayName: "app"})
	must(t, err, "create a token")
	app := root.as(t, token.Auth.ClientToken)
	kept, brief := issue(t, app, "database/creds/readonly"), issue(t, app, "database/creds/brief")
	_, err = app.renew(kept.lease, 3600)
	must(t, err, "renew")
	_, err = app.read("database/creds/app")
	want(t, "status of what the policy does not allow", statusOf(err), http.StatusForbidden)
	must(t, root.revoke(kept.lease, true), "revoke")
	target.gone(t, kept.user, brief.user)
	must(t, os.Rename(path, path+".1"), "rotate")
	s.hangUp(t)
	eventually(t, hang, func() error { _, err := os.Stat(path); return err })
	s.kill(t) // up to a second of lines is not confirmed
	s.start(t)
	last := issue(t, app, "database/creds/readonly")
	must(t, root.revoke(last.lease, true), "revoke")

	var all []auditLine
	var text string
	eventually(t, hang, func() error {
		all, text = auditLines(t, path+".1", path)
		if len(matching(all, func(l *auditLine) bool {
			return l.Curfew.EventType == "lease.revoked" && l.Curfew.LeaseID == last.lease
		})) == 0 {
			return fmt.Errorf("the last revocation is in no line")
		}
		return nil
	})
	complete(t, s, all)
	for name, value := range map[string]string{
		"root token": s.root, "token": token.Auth.ClientToken, "accessor": token.Auth.Accessor, "admin's password": target.password,
		"password": kept.password, "brief password": brief.password, "last password": last.password, "user": kept.user, "brief user": brief.user, "last user": last.user,
	} {
		if holds([]byte(text), value) {
			t.Errorf("the file shows the %s", name)
		}
	}
	hash := func(input string) string {
		t.Helper()
		h, err := sys.AuditHash("file", input)
		must(t, err, "hash")
		return h
	}
	tokenHash, user, briefUser := hash(token.Auth.ClientToken), hash(kept.user), hash(brief.user)
	issued := matching(all, func(l *auditLine) bool {
		return l.Type == "response" && l.Response.Secret != nil && l.Response.Secret.LeaseID == kept.lease && l.Request.Operation == "read"
	})
	if len(issued) == 0 || issued[0].Response.Data["username"] != user || issued[0].Auth.ClientToken != tokenHash || issued[0].Auth.Accessor != hash(token.Auth.Accessor) ||
		!slices.Equal(issued[0].Auth.Policies, []string{"app", "default"}) || issued[0].Request.MountType != "database" ||
		issued[0].Request.RemoteAddress != "127.0.0.1" || issued[0].Auth.DisplayName != "token-app" || issued[0].Auth.TokenType != "service" {
		t.Errorf("the issue is %+v", issued)
	}
	if got := matching(all, func(l *auditLine) bool {
		return l.Request.Path == "database/creds/app" && l.Error == "permission denied"
	}); len(got) < 2 {
		t.Errorf("the refused request is in %d lines", len(got))
	}
	if got := matching(all, func(l *auditLine) bool {
		return l.Response != nil && l.Response.Auth != nil && l.Response.Auth.ClientToken == tokenHash
	}); len(got) == 0 {
		t.Error("no line says where the token came from")
	}
	ended := matching(all, func(l *auditLine) bool { return l.Request.Data["username"] == briefUser })
	if len(ended) < 2 || ended[0].Type != "request" || ended[0].Auth.DisplayName != "system:expiry" || ended[0].Request.Operation != "revoke" ||
		ended[0].Request.Path != "sys/leases/revoke/"+brief.lease || ended[len(ended)-1].Type != "response" || ended[len(ended)-1].Error != "" {
		t.Errorf("the expiry is %+v", ended)
	}
	_, plain := auditLines(t, s.deviceFile("plain.log"))
	if !strings.Contains(plain, token.Auth.Accessor) || strings.Contains(plain, tokenHash) || holds([]byte(plain), token.Auth.ClientToken) {
		t.Error("the second device hides accessors, or has the first one's key, or shows a token")
	}
	listed, err := sys.ListAudit()
	must(t, err, "list")
	want(t, "path of the second device", listed["plain/"].Path, "plain/")
	command(0, "Success! Disabled audit device (if it was enabled) at: file/", "audit", "disable", "file")
	must(t, sys.DisableAudit("plain"), "disable by the library")
	command(2, "No audit devices are enabled.", "audit", "list")
	verified(t, s)
}

// complete fails unless every request on record since the device was enabled is
// in its lines, in order, each once or again at a place where the server was
// killed.
func complete(tb testing.TB, s *curfew, all []auditLine) {
	tb.Helper()
	have := map[string]bool{}
	var last int64
	for _, l := range all {
		if l.Type != "request" && l.Type != "response" || l.Time == "" {
			tb.Errorf("a line is %+v", l)
		}
		var epoch, number int64
		if _, err := fmt.Sscanf(l.Curfew.Event, "%d-%d", &epoch, &number); err != nil {
			tb.Fatalf("a line names the event %q", l.Curfew.Event)
		}
		if !have[l.Curfew.Event] && number < last {
			tb.Errorf("event %s comes first after event %d", l.Curfew.Event, last)
		}
		have[l.Curfew.Event], last = true, max(last, number)
	}
	if len(all) == 0 {
		tb.Fatal("there are no lines")
	}
	var first int64
	_, _ = fmt.Sscanf(all[0].Curfew.Event, "1-%d", &first)
	for _, e := range s.entries(tb, url.Values{}) {
		switch e.Type {
		case "request.served", "request.denied", "lease.revoking", "lease.revoked", "token.revoking", "token.revoked":
			id := fmt.Sprintf("%d-%d", e.Epoch, e.Number)
			if e.Number >= first && e.Number <= last && !have[id] {
				tb.Errorf("event %s, %s of %s, is in no line", id, e.Type, e.Subject)
			}
		}
	}
}
