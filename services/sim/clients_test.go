package sim_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/curfew-project/curfew/issuer"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

// request is what a client sends.
type request struct {
	method, path, token, body string
	wrap                      string // X-Vault-Wrap-TTL
}

func (r request) http(ctx context.Context) *http.Request {
	h := httptest.NewRequestWithContext(ctx, r.method, "/v1/"+r.path, strings.NewReader(r.body))
	if r.token != "" {
		h.Header.Set("X-Vault-Token", r.token)
	}
	if r.wrap != "" {
		h.Header.Set("X-Vault-Wrap-Ttl", r.wrap)
	}
	return h
}

// serve has a request served at once, for the installation.
func serve(i *issuer.Issuer, r request) (int, string) {
	rec := httptest.NewRecorder()
	i.Handler().ServeHTTP(rec, r.http(context.Background()))
	return rec.Code, rec.Body.String()
}

// answer is what a client reads.
type answer struct {
	code     int
	LeaseID  string         `json:"lease_id"`
	Data     map[string]any `json:"data"`
	WrapInfo *struct {
		Token string `json:"token"`
	} `json:"wrap_info"`
	Auth *struct {
		ClientToken string `json:"client_token"`
		Accessor    string `json:"accessor"`
	} `json:"auth"`
}

// credential is one that a client was told of.
type credential struct {
	id                lease.ID
	account, password string
	target            string
}

type wrapped struct {
	token  string
	opened int
}

// clients are all who ask. They live on the scheduler's goroutine.
type clients struct {
	w      *world
	root   string
	tokens []string
	held   []*credential
	wraps  []*wrapped
	served []*process // that requests were sent to
	n      int

	leases   map[lease.ID]bool // somebody asked to revoke them
	prefixes []string
	mounts   map[string]bool // somebody disabled it
}

func newClients(w *world) clients {
	return clients{w: w, leases: map[lease.ID]bool{}, mounts: map[string]bool{}}
}

// plan lets clients ask from time to time.
func (c *clients) plan() {
	for range 10 + c.w.rand.IntN(30) {
		c.w.later(time.Duration(c.w.rand.Int64N(int64(chaosLasts-3*time.Second))), fmt.Sprintf("client %d", c.n), c.act)
		c.n++
	}
}

// act does something that a client may do now.
func (c *clients) act() {
	r := c.w.rand
	switch n := r.IntN(100); {
	case n < 40:
		c.issue("")
	case n < 47:
		c.issue("20s")
	case n < 54 && len(c.wraps) > 0:
		x := c.wraps[r.IntN(len(c.wraps))]
		c.atOnce(1+r.IntN(2), func() { c.unwrap(x) })
	case n < 57 && len(c.wraps) > 0:
		c.rewrap(r.IntN(len(c.wraps)))
	case n < 68 && len(c.held) > 0:
		c.renew(c.held[r.IntN(len(c.held))])
	case n < 75 && len(c.held) > 0:
		id := c.held[r.IntN(len(c.held))].id
		c.leases[id] = true
		c.send(request{method: "PUT", path: "sys/leases/revoke", token: c.root, body: fmt.Sprintf(`{"lease_id":%q,"sync":%t}`, id, r.IntN(2) == 0)}, nil)
	case n < 80:
		prefix := []string{"db1/creds/short", "db1/creds/long", "db2/creds/long", "db2/"}[r.IntN(4)]
		c.prefixes = append(c.prefixes, prefix)
		c.send(request{method: "PUT", path: "sys/leases/revoke-prefix/" + prefix, token: c.root, body: fmt.Sprintf(`{"sync":%t}`, r.IntN(2) == 0)}, nil)
	case n < 89:
		c.login()
	case n < 94 && len(c.tokens) > 0:
		i := r.IntN(len(c.tokens))
		c.send(request{method: "PUT", path: "auth/token/revoke", token: c.root, body: fmt.Sprintf(`{"token":%q}`, c.tokens[i])}, nil)
	case n < 96 && len(c.tokens) > 0:
		c.send(request{method: "PUT", path: "auth/token/renew-self", token: c.tokens[r.IntN(len(c.tokens))]}, nil)
	case n < 98:
		c.dropRole()
	default:
		c.remount()
	}
}

// renew prolongs or shortens a lease, once or several times at once.
func (c *clients) renew(x *credential) {
	c.atOnce(1+c.w.rand.IntN(4), func() {
		body := fmt.Sprintf(`{"lease_id":%q,"increment":%d}`, x.id, c.w.rand.IntN(40))
		c.send(request{method: "PUT", path: "sys/leases/renew", token: c.root, body: body}, nil)
	})
}

// atOnce has n requests sent at one moment. Each begins in a step of its own:
// their goroutines would race for what they share in their process before they
// first stop.
func (c *clients) atOnce(n int, send func()) {
	for range n {
		c.w.later(0, fmt.Sprintf("request %d", c.n), send)
		c.n++
	}
}

// withdraw takes away what a creation that is under way may hang on.
func (c *clients) withdraw() {
	switch n := c.w.rand.IntN(4); {
	case n == 0:
		c.dropRole()
	case n == 1 && len(c.tokens) > 0:
		c.send(request{method: "PUT", path: "auth/token/revoke", token: c.root, body: fmt.Sprintf(`{"token":%q}`, c.tokens[c.w.rand.IntN(len(c.tokens))])}, nil)
	default:
		prefix := []string{"db1/", "db2/"}[c.w.rand.IntN(2)]
		c.prefixes = append(c.prefixes, prefix)
		c.send(request{method: "PUT", path: "sys/leases/revoke-prefix/" + prefix, token: c.root, body: `{"sync":false}`}, nil)
	}
}

func (c *clients) anyToken() string {
	if n := len(c.tokens); n > 0 && c.w.chance(0.6) {
		return c.tokens[c.w.rand.IntN(n)]
	}
	return c.root
}

func (c *clients) issue(wrap string) {
	path := []string{"db1/creds/short", "db1/creds/long", "db2/creds/short", "db2/creds/long"}[c.w.rand.IntN(4)]
	c.send(request{method: "GET", path: path, token: c.anyToken(), wrap: wrap}, func(a answer) {
		if a.WrapInfo != nil {
			c.wraps = append(c.wraps, &wrapped{token: a.WrapInfo.Token})
			return
		}
		c.hold(a)
	})
}

// hold keeps a credential that came.
func (c *clients) hold(a answer) {
	account, _ := a.Data["username"].(string)
	password, _ := a.Data["password"].(string)
	if account == "" {
		return
	}
	mount, _, _ := strings.Cut(a.LeaseID, "/")
	c.w.checks.counts["credentials"]++
	c.held = append(c.held, &credential{id: lease.ID(a.LeaseID), account: account, password: password, target: targets[mount+"/"]})
}

func (c *clients) unwrap(x *wrapped) {
	c.send(request{method: "PUT", path: "sys/wrapping/unwrap", token: x.token}, func(a answer) {
		if x.opened++; x.opened > 1 {
			c.w.checks.violated(invariantOnce, "a wrapping token was opened %d times", x.opened)
		}
		c.w.checks.counts["unwrapped"]++
		c.hold(a)
	})
}

// rewrap gives up the wrapping token for another.
func (c *clients) rewrap(i int) {
	old := c.wraps[i]
	c.send(request{method: "PUT", path: "sys/wrapping/rewrap", token: old.token}, func(a answer) {
		if a.WrapInfo != nil {
			c.wraps = append(c.wraps, &wrapped{token: a.WrapInfo.Token})
		}
	})
}

func (c *clients) login() {
	ttl := 5 + c.w.rand.IntN(30)
	c.send(request{
		method: "POST", path: "auth/token/create", token: c.anyToken(),
		body: fmt.Sprintf(`{"ttl":"%ds","explicit_max_ttl":"60s","policies":["all"]}`, ttl),
	}, func(a answer) {
		if a.Auth != nil {
			c.tokens = append(c.tokens, a.Auth.ClientToken)
		}
	})
}

// dropRole takes a role away, as an engine does, and writes it anew.
func (c *clients) dropRole() {
	w := c.w
	roles, err := w.store.List(context.Background(), store.KindRole, "", "", false, 0)
	if err != nil || len(roles) == 0 {
		return
	}
	gone := roles[w.rand.IntN(len(roles))]
	w.note("role %s is deleted", gone.Key)
	_, err = w.store.Write(context.Background(), store.Write{Withdrawals: []store.Ref{{Kind: gone.Kind, ID: gone.ID}}})
	if err != nil {
		w.t.Fatal(err)
	}
	w.later(w.between(0, 5*time.Second), "role again", func() { w.furnish("db1/"); w.furnish("db2/") })
}

// remount disables a mount with all that it issued, and enables it anew.
func (c *clients) remount() {
	c.mounts["db2/"] = true
	c.send(request{method: "DELETE", path: "sys/mounts/db2", token: c.root}, nil)
	for i := range 3 {
		c.w.later(time.Duration(i+1)*4*time.Second, "enable", func() {
			c.send(request{method: "POST", path: "sys/mounts/db2", token: c.root, body: `{"type":"database"}`}, func(answer) { c.w.furnish("db2/") })
		})
	}
}

// send has an issuer that lives serve a request; then is called with an answer
// that the client got and that is none of failure.
func (c *clients) send(r request, then func(answer)) {
	w := c.w
	to := w.issuers[w.rand.IntN(2)]
	if to.now == nil || to.now.dead() || to.api == nil {
		return
	}
	w.note("%s gets %s %s %s", to.now.name, r.method, r.path, r.body)
	ctx, cancel := context.WithCancel(to.now.ctx)
	if w.chance(w.odds.leaves) {
		w.later(w.between(0, 10*time.Second), "client leaves", cancel)
	}
	p, api := to.now, to.api.Handler()
	c.served = append(c.served, p)
	out := &writer{p: p, about: r.method + " " + r.path, header: http.Header{}, heard: func(code int, body []byte) {
		a := answer{code: code}
		w.note("client hears %d", code)
		if code < 300 {
			w.checks.counts["served"]++
		}
		if code >= 300 || then == nil {
			return
		}
		if len(body) > 0 {
			if err := json.Unmarshal(body, &a); err != nil {
				w.t.Errorf("answer %q: %v", body, err)
				return
			}
		}
		then(a)
	}}
	p.all.Go(func() {
		defer cancel()
		api.ServeHTTP(out, r.http(ctx))
		if !out.wrote {
			_ = out.answer(ctx, nil) // one without a body
		}
	})
}

// writer is the server's end of a connection.
type writer struct {
	p      *process
	about  string
	header http.Header
	code   int
	wrote  bool
	heard  func(code int, body []byte)
}

func (x *writer) Header() http.Header  { return x.header }
func (x *writer) WriteHeader(code int) { x.code = code }

func (x *writer) Write(body []byte) (int, error) {
	if err := x.answer(x.p.ctx, body); err != nil {
		return 0, err
	}
	return len(body), nil
}

// answer is what the client hears, if it does.
func (x *writer) answer(ctx context.Context, body []byte) error {
	x.wrote = true
	code := x.code
	if code == 0 {
		code = http.StatusOK
	}
	_, err := ask(context.WithoutCancel(ctx), x.p, call{method: "client.Answer", about: x.about, target: "client", change: true}, func() (nothing, error) {
		x.heard(code, body)
		return nothing{}, nil
	})
	if err != nil {
		return fmt.Errorf("%w: %w", errCut, err)
	}
	return nil
}
