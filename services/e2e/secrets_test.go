//go:build e2e

package e2e

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/curfew-project/curfew/shared/testkit"
)

// TestNoSecretIsWritten lives through what a server does, also with failures,
// and then looks for every password and token of it in everything that was
// written: the log, the events, the ledger, the store, the stream, the index, and
// the log of a target that logs every statement.
func TestNoSecretIsWritten(t *testing.T) {
	t.Parallel()
	s := newCurfew(t, `log_level = "trace"`)
	target := targetOf(t, testkit.Postgres(t), testkit.CreateRoleAdmin)
	target.Exec(t, "postgres", "ALTER SYSTEM SET log_statement = 'all'") // from here on
	target.Exec(t, "postgres", "SELECT pg_reload_conf()")
	c := newVault(t, s)
	secrets := map[string]string{"root token": s.root, "password of the admin user": target.password}
	var kept []string // files that are there to hold a secret
	for _, name := range []string{"root-token", "seal.key", "store-password"} {
		file := filepath.Join(s.dir, name)
		text, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue // this form has none
		}
		must(t, err, "read a secret")
		secrets["text of "+name], kept = strings.TrimSpace(string(text)), append(kept, file)
	}
	if out, code := s.run(t, "audit", "enable", "file", "file_path=audit.log"); code != 0 {
		t.Fatalf("enable an audit device: %d %s", code, out)
	}
	target.setUp(t, c, "database", "1h", "24h")
	target.role(t, c, "database", "brief", s1Creation, "1s", "1s")
	target.role(t, c, "database", "broken", s1Creation+` GRANT SELECT ON nosuch TO "{{name}}";`, "1h", "1h")
	target.role(t, c, "database", "alone", s1Creation+` DO $$ BEGIN PERFORM 1; END $$;`, "1h", "1h")

	token, err := c.createToken("app", "1h")
	must(t, err, "make a token")
	secrets["token"] = token.Token
	app := c.as(t, token.Token)
	keep := func(cred credential) credential {
		secrets["password of "+cred.user] = cred.password
		return cred
	}
	for _, role := range []string{"app", "brief", "alone"} {
		for range 3 {
			keep(issue(t, app, "database/creds/"+role))
		}
	}
	if _, err := c.read("database/creds/broken"); err == nil {
		t.Fatal("the broken role works: the test is of no use")
	}
	last := keep(issue(t, app, "database/creds/app"))
	_, err = app.renew(last.lease, 7200)
	must(t, err, "renew")
	must(t, c.revoke(last.lease, true), "revoke")
	for name, value := range handedOut(t, c) {
		secrets[name] = value
	}
	for name, text := range map[string]string{"token that is not valid": "hvs.nobody-has-this-token", "token in the body": "hvs.nor-has-anybody-this"} {
		secrets[name] = text
	}
	if _, err := c.as(t, secrets["token that is not valid"]).read("database/creds/app"); err == nil {
		t.Error("a token that nobody has was taken")
	}
	s.mustSend(t, http.MethodPut, "/v1/auth/token/lookup", jsonOf("token", secrets["token in the body"]))
	secrets["password that is wrong"] = "wrong-password-of-nobody"
	s.mustSend(t, http.MethodPut, "/v1/database/config/other", jsonOf(
		"plugin_name", "postgresql-database-plugin", "connection_url", target.template(), "username", target.admin, "password", secrets["password that is wrong"]))
	_, err = c.write("database/rotate-root/db", nil)
	must(t, err, "rotate the password")
	keep(issue(t, app, "database/creds/app"))
	target.staticAccount(t, "billing", "of-the-people-who-made-it")
	_, err = c.write("database/static-roles/billing", map[string]any{"db_name": "db", "username": "billing", "rotation_period": "1h"})
	must(t, err, "write a static role")
	static, _ := staticCreds(t, c)
	keep(static)
	_, err = c.write("database/rotate-role/billing", nil)
	must(t, err, "rotate the static role")
	static, _ = staticCreds(t, c)
	secrets["second password of a static role"] = static.password
	must(t, c.revokeToken(token.Token), "revoke the token")
	only(t, target, "v-", hang)
	dense(t, s)

	places := map[string][]byte{"the target's log": []byte(target.Log(t))}
	events := s.mustSend(t, http.MethodGet, "/v1/audit/entries?limit=10000", "").body
	if !bytes.Contains(events, []byte(last.lease)) || !strings.Contains(target.Log(t), last.user) {
		t.Error("what is searched is not what was written: the test is of no use")
	}
	places["the events"] = events
	counted := !distributed() // the other form has no metrics
	for _, address := range s.monitors(t) {
		text := get(t, address+"/metrics")
		places["the metrics at "+address] = text
		counted = counted || bytes.Contains(text, []byte(`curfew_audit_device_up{device="file/"} 1`))
	}
	if !counted {
		t.Error("no auditor counts the audit device")
	}
	s.kill(t) // also what is not yet put in order
	places["the server's log"] = []byte(s.output(t))
	for _, folder := range s.folders() {
		must(t, filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || slices.Contains(kept, path) {
				return err
			}
			places[path], err = os.ReadFile(path)
			return err
		}), "read the files")
	}
	if text := places[s.deviceFile("audit.log")]; !bytes.Contains(text, []byte(last.lease)) {
		t.Error("the audit device's file is not among what is searched: the test is of no use")
	}
	if len(places) < 10 || len(secrets) < 24 {
		t.Errorf("only %d places and %d secrets: the test is of no use", len(places), len(secrets))
	}
	for place, text := range places {
		for name, value := range secrets {
			if holds(text, value) {
				t.Errorf("%s holds the %s", place, name)
			}
		}
	}
}

// handedOut are the secrets of an application that gets in by AppRole, with its
// secret id and its first credential in wrapping tokens.
func handedOut(t *testing.T, c client) map[string]string {
	t.Helper()
	for _, w := range []struct {
		path string
		data map[string]any
	}{
		{"sys/policies/acl/app", map[string]any{"policy": `path "database/creds/*" { capabilities = ["read"] }`}},
		{"sys/auth/approle", map[string]any{"type": "approle"}},
		{"auth/approle/role/app2", map[string]any{"token_policies": "app"}},
	} {
		_, err := c.write(w.path, w.data)
		must(t, err, "write "+w.path)
	}
	write := func(c client, path string, data map[string]any) *answer {
		t.Helper()
		return must1(t, "write "+path)(c.write(path, data))
	}
	role := must1(t, "read the role id")(c.read("auth/approle/role/app2/role-id"))
	wrappedID := write(c.wrapping(t, "5m"), "auth/approle/role/app2/secret-id", nil)
	again := must1(t, "rewrap")(c.as(t, wrappedID.Wrap).write("sys/wrapping/rewrap", nil))
	secretID := must1(t, "unwrap a secret id")(c.unwrap(again.Wrap))
	login := write(c.as(t, ""), "auth/approle/login", map[string]any{"role_id": role.text("role_id"), "secret_id": secretID.text("secret_id")})
	wrapped := must1(t, "read a credential, wrapped")(c.as(t, login.Token).wrapping(t, "5m").read("database/creds/app"))
	cred := must1(t, "unwrap a credential")(c.unwrap(wrapped.Wrap))
	must(t, c.revokeToken(login.Token), "revoke the token of the login")
	sent := write(c.wrapping(t, "5m"), "sys/wrapping/wrap", map[string]any{"secret": "what-somebody-has-wrapped"})
	return map[string]string{
		"wrapping token of a secret id": wrappedID.Wrap, "its other text": again.Wrap, "secret id": secretID.text("secret_id"),
		"token of a login": login.Token, "wrapping token of a credential": wrapped.Wrap,
		"password that was wrapped": cred.text("password"), "wrapping token that nobody opens": sent.Wrap,
		"what is in it": "what-somebody-has-wrapped", "secret id that is wrong": wrongSecretID(t, c, role.text("role_id")),
	}
}

// monitors are the addresses at which its programs say that they serve metrics;
// the one-machine form has none.
func (c *curfew) monitors(tb testing.TB) (all []string) {
	tb.Helper()
	for line := range strings.Lines(c.output(tb)) {
		var said struct{ Address, Message string }
		if json.Unmarshal([]byte(line), &said) == nil && said.Message == "serving health and metrics" {
			all = append(all, said.Address)
		}
	}
	if distributed() && len(all) < 6 {
		tb.Errorf("only %d programs serve metrics", len(all))
	}
	return all
}

// get reads a page that needs no token.
func get(tb testing.TB, url string) []byte {
	tb.Helper()
	req, err := http.NewRequestWithContext(tb.Context(), http.MethodGet, url, http.NoBody)
	must(tb, err, "read "+url)
	res, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: hang}).Do(req)
	must(tb, err, "read "+url)
	defer func() { _ = res.Body.Close() }() // it was read
	text, err := io.ReadAll(res.Body)
	must(tb, err, "read "+url)
	if res.StatusCode != http.StatusOK || len(text) == 0 {
		tb.Fatalf("read %s: %s", url, res.Status)
	}
	return text
}

// wrongSecretID tries to log in with a secret id that nobody has.
func wrongSecretID(t *testing.T, c client, role string) string {
	t.Helper()
	const wrong = "00000000-aaaa-bbbb-cccc-1234567890ab"
	if _, err := c.as(t, "").write("auth/approle/login", map[string]any{"role_id": role, "secret_id": wrong}); err == nil {
		t.Error("a secret id that nobody has was taken")
	}
	return wrong
}

// holds reports whether text holds a secret, also in a usual encoding.
func holds(text []byte, value string) bool {
	forms := []string{value, hex.EncodeToString([]byte(value))}
	for shift := range 3 {
		// Base64 of a text that begins at any place of a group of three.
		encoded := base64.RawStdEncoding.EncodeToString(append(make([]byte, shift), value...))
		forms = append(forms, encoded[4:len(encoded)-4])
	}
	return slices.ContainsFunc(forms, func(form string) bool { return bytes.Contains(text, []byte(form)) })
}

// TestRequestID: answer, log and events of a request share its id.
func TestRequestID(t *testing.T) {
	t.Parallel()
	s := newCurfew(t)
	target := newTarget(t, testkit.SuperuserAdmin)
	c := newBao(t, s)
	target.setUp(t, c, "database", "1h", "24h")
	a, err := c.read("database/creds/app")
	must(t, err, "read a credential")
	must(t, c.revoke(a.LeaseID, true), "revoke")
	all := s.history(t, a.LeaseID)
	for _, e := range all[:2] {
		want(t, "request id of "+e.Type, e.Data.Actor.RequestID, a.RequestID)
	}
	eventually(t, hang, func() error {
		if !strings.Contains(s.output(t), a.RequestID) {
			return os.ErrNotExist
		}
		return nil
	})
}
