//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/curfew-project/curfew/shared/testkit"
	"github.com/curfew-project/curfew/shared/testkit/server"
)

// articles are the commands and files of the articles, by their numbers.
func articles(tb testing.TB) map[string]string {
	tb.Helper()
	archive, err := txtar.ParseFile(filepath.Join("testdata", "articles.txtar"))
	must(tb, err, "read the articles")
	all := map[string]string{}
	for _, f := range archive.Files {
		all[f.Name] = string(f.Data)
	}
	return all
}

// reader is a person who types what an article says into a shell.
type reader struct {
	server *curfew
	target *target
	dir    string // where the shell is
	text   map[string]string
}

func newReader(tb testing.TB) *reader {
	tb.Helper()
	foreign(tb, "bash, curl and jq", "bash", "-c", "command -v curl && command -v jq")
	r := &reader{newCurfew(tb), articleTarget(tb, testkit.CreateRoleAdmin), tb.TempDir(), articles(tb)}
	// The articles call the program vault.
	must(tb, os.Mkdir(filepath.Join(r.dir, "bin"), 0o700), "make a folder")
	must(tb, os.Symlink(program(tb), filepath.Join(r.dir, "bin", "vault")), "name the program")
	return r
}

// types types commands of an article into a shell that ends at the first that
// fails, and returns what they printed. What the article calls by names of its
// own is replaced by pairs, and by what the test has.
func (r *reader) types(tb testing.TB, commands string, pairs ...string) string {
	tb.Helper()
	out, err := r.tries(tb, commands, pairs...)
	if err != nil {
		tb.Fatalf("%v:\n%s", err, regexp.MustCompile(`(?m)((password|token)"?:? +)\S+`).ReplaceAllString(out, "$1(hidden)"))
	}
	return out
}

// tries is types for commands that may fail.
func (r *reader) tries(tb testing.TB, commands string, pairs ...string) (string, error) {
	tb.Helper()
	template := regexp.MustCompile(`@(.*)\?(.*)$`).FindStringSubmatch(r.target.template())
	commands = regexp.MustCompile(`sslmode=[a-z-]+`).ReplaceAllLiteralString(commands, template[2])
	commands = strings.NewReplacer(append(pairs,
		"db.example.com:5432/postgres", template[1], "https://vault.example.com", r.server.url(), "hvs.xxxxx", r.server.root,
	)...).Replace(commands)
	cmd := exec.CommandContext(tb.Context(), "bash", "-eu", "-o", "pipefail", "-c", commands)
	cmd.Dir = r.dir
	cmd.Env = append(server.Environ(os.Environ(), r.dir), "VAULT_ADDR="+r.server.url(), "VAULT_TOKEN="+r.server.root,
		"PATH="+filepath.Join(r.dir, "bin")+string(os.PathListSeparator)+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// table reads what follows a "Key Value" heading.
func table(tb testing.TB, out string) map[string]string {
	tb.Helper()
	_, rows, ok := strings.Cut(out, "---                -----\n")
	if !ok {
		_, rows, ok = strings.Cut(strings.ReplaceAll(out, " ", ""), "--------\n")
		if !ok {
			tb.Fatal("the output has no table")
		}
	}
	all := map[string]string{}
	for line := range strings.Lines(rows) {
		if f := strings.Fields(line); len(f) > 1 {
			all[f[0]] = strings.Join(f[1:], " ")
		}
	}
	return all
}

// hours reads a duration of a table.
func hours(tb testing.TB, text string) time.Duration {
	tb.Helper()
	d, err := time.ParseDuration(text)
	must(tb, err, "read a duration")
	return d
}

// TestFirstArticle: the commands of the first article, in their order, through
// the program's own command line. (What it says of AWS is not there; its agent
// is in recording 07, its template in TestClients.)
func TestFirstArticle(t *testing.T) {
	t.Parallel()
	r := newReader(t)

	// S1.1
	first := table(t, r.types(t, r.text["S1.1"]))
	cred := credential{lease: first["lease_id"], user: first["username"], password: first["password"]}
	term(t, hours(t, first["lease_duration"]), time.Hour)
	want(t, "lease_renewable", first["lease_renewable"], "true")
	want(t, "the credential works", r.target.works(t, cred), true)

	// S1.2: the first line says the lease of the others.
	line, rest, _ := strings.Cut(r.text["S1.2"], "\n")
	values := strings.Fields(r.types(t, line))
	if len(values) != 3 || !strings.HasPrefix(values[0], `"database/creds/readonly/`) || values[2] != "true" {
		t.Fatalf("lease_id, lease_duration and renewable: %v", values)
	}
	lease := strings.Trim(values[0], `"`)
	others := len(r.target.accounts(t, "v-"))
	want(t, "accounts", others, 2)
	out := r.types(t, rest, "<LEASE_ID>", lease)
	for _, part := range []string{lease, "All revocation operations queued successfully!"} {
		if !strings.Contains(out, part) {
			t.Errorf("the output has no %q:\n%s", part, out)
		}
	}
	only(t, r.target, "v-", hang)

	// S1.5: who has that policy reads credentials and nothing else.
	must(t, os.WriteFile(filepath.Join(r.dir, "readonly.hcl"), []byte(r.text["S1.5/policy.hcl"]), 0o600), "write the policy's file")
	r.types(t, "vault policy write readonly readonly.hcl")
	token := strings.TrimSpace(r.types(t, "vault token create -policy=readonly -field=token"))
	holder := *r
	server := *r.server
	server.root, holder.server = token, &server
	holder.types(t, "vault read database/creds/readonly")
	if out, err := holder.tries(t, "vault read database/roles/readonly"); err == nil || !strings.Contains(out, "permission denied") {
		t.Errorf("the role is read with a policy for its credentials: %v\n%s", err, out)
	}

	// And an audit device, whose file has everything and no secret.
	device := r.server.deviceFile("vault_audit.log")
	out = r.types(t, r.text["S1.5"], "/var/log/vault_audit.log", device)
	want(t, "audit enable", strings.TrimSpace(out), "Success! Enabled the file audit device at: file/")

	// S1.6
	out = r.types(t, r.text["S1.6"])
	mounts, rest, _ := strings.Cut(out, "Key ")
	want(t, "mounts", strings.Join(strings.Fields(mounts), " "), "Keys ---- database/ sys/")
	_, answer, _ := strings.Cut(rest, "\n{")
	var got struct {
		LeaseID string            `json:"lease_id"`
		Data    map[string]string `json:"data"`
	}
	must(t, json.Unmarshal([]byte("{"+answer), &got), "read what curl and jq printed")
	want(t, "the credential works", r.target.works(t, credential{user: got.Data["username"], password: got.Data["password"]}), true)
	if !strings.Contains(rest, "default_ttl") || !strings.Contains(rest, s1Creation) {
		t.Errorf("the role reads as\n%s", rest[:len(rest)-len(answer)])
	}

	eventually(t, hang, func() error {
		text, err := os.ReadFile(device)
		if err == nil && !strings.Contains(string(text), got.LeaseID) {
			err = fmt.Errorf("the audit device has %d bytes without the lease", len(text))
		}
		if strings.Contains(string(text), got.Data["password"]) || strings.Contains(string(text), r.server.root) {
			t.Error("the audit device has a secret")
		}
		return err
	})

	// What the article's symptoms come with.
	for command, symptom := range map[string]string{
		"vault write database/roles/never db_name=my-postgres creation_statements=x default_ttl=2h max_ttl=1h": "lease TTL too large",
		"vault write nosuch/creds/readonly x=y": "no handler for route",
	} {
		if out, err := r.tries(t, command); err == nil || !strings.Contains(out, symptom) {
			t.Errorf("%s: %v\n%s", command, err, out)
		}
	}
	verified(t, r.server)
}

// TestSecondArticle: the commands of the second article, in their order, through
// the program's own command line.
func TestSecondArticle(t *testing.T) {
	t.Parallel()
	r := newReader(t)

	// S2.1
	first := table(t, r.types(t, r.text["S2.1"]))
	cred := credential{lease: first["lease_id"], user: first["username"], password: first["password"]}
	want(t, "what is answered", strings.Join(slices.Sorted(maps.Keys(first)), " "), "lease_duration lease_id lease_renewable password username")
	term(t, hours(t, first["lease_duration"]), time.Hour)
	want(t, "lease_renewable", first["lease_renewable"], "true")
	want(t, "the credential works", r.target.works(t, cred), true)
	if !strings.HasPrefix(cred.lease, "database/creds/app-readonly/") || !strings.HasPrefix(cred.user, "v-root-app-read-") {
		t.Errorf("lease %q, user %q", cred.lease, cred.user)
	}

	// S2.2
	out := r.types(t, r.text["S2.2"], "database/creds/app-readonly/xxxxx", cred.lease)
	for _, part := range []string{
		"Success! Uploaded policy: app-readonly", `["app-readonly" "default"]`, "All revocation operations queued successfully!",
		"Success! Data written to: database/rotate-root/my-postgresql",
	} {
		if !strings.Contains(out, part) {
			t.Errorf("the output has no %q", part)
		}
	}
	r.target.gone(t, cred.user)
	want(t, "default privileges left", r.target.count(t, "SELECT count(*) FROM pg_default_acl"), 0)
	_, err := r.target.tryLogin(t.Context(), credential{user: "vault_admin", password: "s3cr3t"})
	want(t, "SQLSTATE for the password of before the rotation", sqlState(err), "28P01")

	// The token that was made for app-A has the policy and what it allows.
	holder := *r
	server := *r.server
	server.root, holder.server = tokenIn(t, out), &server
	again := table(t, holder.types(t, "vault read database/creds/app-readonly"))
	if !strings.HasPrefix(again["username"], "v-token-ap-app-read-") {
		t.Errorf("the user of a token of app-A is %q", again["username"])
	}
	verified(t, r.server)
}

// tokenIn is the token in the output of `token create`.
func tokenIn(tb testing.TB, out string) string {
	tb.Helper()
	found := regexp.MustCompile(`(?m)^token +(hvs\.\S+)$`).FindStringSubmatch(out)
	if found == nil {
		tb.Fatal("the output has no token")
	}
	return found[1]
}
