//go:build e2e

package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/curfew-project/curfew/shared/testkit"
	"github.com/curfew-project/curfew/shared/testkit/server"
)

// installed is where `make clients` puts what is no package of Debian's.
const installed = "../../.cache/clients"

// foreign skips the test, or fails it in CI, where a client of another project
// is missing: probe is a command that ends well where it is there.
func foreign(tb testing.TB, name string, probe ...string) {
	tb.Helper()
	out, err := exec.CommandContext(tb.Context(), probe[0], probe[1:]...).CombinedOutput()
	if err == nil {
		return
	}
	text := fmt.Sprintf("no %s here, `make clients` installs it: %v\n%s", name, err, out)
	if os.Getenv("CURFEW_CI") == "1" {
		tb.Fatal(text)
	}
	tb.Skip(text)
}

// tenant is an application that the server lets in.
type tenant struct{ role, roleID, secretID string }

// letIn lets an application in by AppRole: it may read the credentials of the
// role of its own name, and what is below nosuch/. Times to live are those of its
// credentials; fields are further ones of its login.
func (h *host) letIn(tb testing.TB, name string, ttl, most time.Duration, fields map[string]any) tenant {
	tb.Helper()
	h.target.role(tb, h.root, "database", name, s1Creation, ttl.String(), most.String())
	policy := fmt.Sprintf(`path "database/creds/%s" { capabilities = ["read"] } path "nosuch/*" { capabilities = ["read"] }`, name)
	_, err := h.root.write("sys/policies/acl/"+name, map[string]any{"policy": policy})
	must(tb, err, "write the policy")
	login := map[string]any{"token_policies": name}
	maps.Copy(login, fields)
	path := "auth/approle/role/" + name
	_, err = h.root.write(path, login)
	must(tb, err, "write the login")
	id, err := h.root.read(path + "/role-id")
	must(tb, err, "read the role id")
	secret, err := h.root.write(path+"/secret-id", nil)
	must(tb, err, "draw a secret id")
	return tenant{name, id.text("role_id"), secret.text("secret_id")}
}

// host is what the applications share.
type host struct {
	server *curfew
	target *target
	root   client
}

// TestClients: programs of users, with the libraries and tools that they have,
// work with leased accounts. They share a server, and run side by side: most of
// their time they wait for a term to end.
func TestClients(t *testing.T) {
	t.Parallel()
	s := newCurfew(t)
	target := newTarget(t, testkit.CreateRoleAdmin)
	root := newVault(t, s)
	target.setUp(t, root, "database", "1h", "24h")
	_, err := root.write("sys/auth/approle", map[string]any{"type": "approle"})
	must(t, err, "enable AppRole")
	h := &host{s, target, root}
	var all sync.WaitGroup
	for name, test := range map[string]func(*testing.T){
		"hvac": h.hvac, "node-vault": h.nodeVault, "consul-template": h.consulTemplate,
		"vault": h.vaultWatchers, "openbao": h.openbaoWatchers,
	} {
		all.Go(func() { t.Run(name, test) })
	}
	all.Wait()
}

// application is a program of a user's in another language.
type application struct {
	tb     testing.TB
	cmd    *exec.Cmd
	in     io.WriteCloser
	lines  *bufio.Scanner
	stderr bytes.Buffer
}

// startApplication starts one that is given the server and environ. It is ended
// when it takes longer than hang.
func startApplication(tb testing.TB, s *curfew, environ []string, argv ...string) *application {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), hang)
	a := &application{tb: tb, cmd: exec.CommandContext(ctx, argv[0], argv[1:]...)}
	a.cmd.Env = append(append(server.Environ(os.Environ(), s.home), "VAULT_ADDR="+s.url()), environ...)
	a.cmd.Stderr = &a.stderr
	var err error
	a.in, err = a.cmd.StdinPipe()
	must(tb, err, "open the input of the application")
	out, err := a.cmd.StdoutPipe()
	must(tb, err, "open the output of the application")
	a.lines = bufio.NewScanner(out)
	must(tb, a.cmd.Start(), "start the application")
	tb.Cleanup(func() {
		cancel()
		_ = a.cmd.Wait() // it has ended, or was just ended
	})
	return a
}

// said is a line of an application.
type said struct {
	Step, Lease, User, Password string
	TTL                         int
	Renewable, Authenticated    bool
	Initialized, Sealed         bool
	Policies                    []string
	DisplayName                 string `json:"display_name"`
	Path                        string
	Meta                        map[string]string
	Error, Text                 string
	Status                      int
}

// next is the next line, which has to be of that step.
func (a *application) next(step string) said {
	a.tb.Helper()
	var line said
	if !a.lines.Scan() {
		a.tb.Fatalf("the application ended before %q:\n%s", step, &a.stderr)
	}
	must(a.tb, json.Unmarshal(a.lines.Bytes(), &line), "read a line of the application")
	if line.Step != step {
		a.tb.Fatalf("the application is at %q, want %q", line.Step, step)
	}
	return line
}

// goOn lets an application that waits go on.
func (a *application) goOn() {
	a.tb.Helper()
	_, err := io.WriteString(a.in, "\n")
	must(a.tb, err, "let the application go on")
}

// ended waits for the end, which has to be a good one.
func (a *application) ended() {
	a.tb.Helper()
	if a.lines.Scan() {
		a.tb.Errorf("the application says more than it should")
	}
	if err := a.cmd.Wait(); err != nil {
		a.tb.Errorf("the application ended: %v\n%s", err, &a.stderr)
	}
}

// refusal is how an application sees what was refused: the exception of its
// library, and the server's own text.
type refusal struct{ denied, noRoute, ended, loggedOut string }

func (h *host) hvac(t *testing.T) {
	t.Helper()
	const python = "/usr/bin/python3"
	foreign(t, "hvac", python, "-c", "import hvac")
	h.lives(t, "hvac", nil, refusal{"Forbidden", "InvalidPath", "InvalidRequest", "Forbidden"},
		python, "testdata/clients/hvac/application.py")
}

func (h *host) nodeVault(t *testing.T) {
	t.Helper()
	modules, err := filepath.Abs(filepath.Join(installed, "node-vault", "node_modules"))
	must(t, err, "find the clients")
	foreign(t, "node-vault", "node", "-e", "require(process.argv[1])", filepath.Join(modules, "node-vault"))
	h.lives(t, "node-vault", []string{"NODE_PATH=" + modules},
		refusal{"ApiResponseError 403", "ApiResponseError 404", "ApiResponseError 400", "ApiResponseError 403"},
		"node", "testdata/clients/node-vault/application.js")
}

// lives lets an application in and follows it from its login to its end.
func (h *host) lives(t *testing.T, name string, environ []string, errors refusal, argv ...string) {
	t.Helper()
	in := h.letIn(t, name, time.Hour, 24*time.Hour, map[string]any{"token_ttl": "20m"})
	a := startApplication(t, h.server, append(environ, "ROLE="+name, "ROLE_ID="+in.roleID, "SECRET_ID="+in.secretID), argv...)
	a.life(t, h.target, in, errors)
}

func (a *application) life(t *testing.T, target *target, tenant tenant, errors refusal) {
	t.Helper()
	if h := a.next("health"); !h.Initialized || h.Sealed {
		t.Errorf("health: %+v", h)
	}
	in := a.next("login")
	policies := []string{"default", tenant.role}
	want(t, "policies", plain(in.Policies), plain(policies))
	want(t, "the login says that it can be renewed, and is used", in.Renewable && in.Authenticated, true)
	term(t, time.Duration(in.TTL)*time.Second, 20*time.Minute)

	got := a.next("credential")
	cred := credential{lease: got.Lease, user: got.User, password: got.Password}
	want(t, "the credential can be renewed", got.Renewable, true)
	want(t, "the credential works", target.works(t, cred), true)
	term(t, time.Duration(got.TTL)*time.Second, 20*time.Minute) // its token's
	a.goOn()

	renewed := a.next("renewed")
	want(t, "the lease renewed", renewed.Lease, cred.lease)
	term(t, time.Duration(renewed.TTL)*time.Second, 20*time.Minute)
	found := a.next("lease")
	want(t, "the lease looked up", found.Lease, cred.lease)
	want(t, "it can be renewed", found.Renewable, true)
	own := a.next("token")
	want(t, "policies of the token", plain(own.Policies), plain(policies))
	want(t, "the token", fmt.Sprint(own.DisplayName, " ", own.Path, " ", own.Meta), "approle auth/approle/login map[role_name:"+tenant.role+"]")
	term(t, time.Duration(own.TTL)*time.Second, 20*time.Minute)

	a.refused("denied", errors.denied, "permission denied")
	a.refused("no route", errors.noRoute, `no handler for route "nosuch/creds/x". route entry not found.`)
	a.next("revoked")
	want(t, "the account is there after its lease was revoked", target.exists(t, cred.user), false)
	a.goOn()
	a.refused("ended", errors.ended, "lease not found")
	a.refused("logged out", errors.loggedOut, "permission denied")
	a.ended()
}

// refused compares what the library made of a refusal.
func (a *application) refused(step, exception, text string) {
	a.tb.Helper()
	r := a.next(step)
	got := []string{r.Error}
	if r.Status != 0 {
		got = append(got, fmt.Sprint(r.Status))
	}
	if is := strings.Join(got, " "); is != exception || !slices.Contains([]string{text, "1 error occurred:\n\t* " + text + "\n\n"}, r.Text) {
		a.tb.Errorf("%s: the library says %s: %q, want %s: %q", step, is, r.Text, exception, text)
	}
}
