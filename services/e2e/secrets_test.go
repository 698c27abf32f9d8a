//go:build e2e

package e2e

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
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
	must(t, c.revokeToken(token.Token), "revoke the token")
	only(t, target, "v-", hang)
	dense(t, s)

	places := map[string][]byte{"the target's log": []byte(target.Log(t))}
	events := s.mustSend(t, http.MethodGet, "/v1/audit/entries?limit=10000", "").body
	if !bytes.Contains(events, []byte(last.lease)) || !strings.Contains(target.Log(t), last.user) {
		t.Error("what is searched is not what was written: the test is of no use")
	}
	places["the events"] = events
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
	if len(places) < 10 || len(secrets) < 15 {
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
