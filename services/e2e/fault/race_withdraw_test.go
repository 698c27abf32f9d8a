//go:build e2e

package fault

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	vault "github.com/hashicorp/vault/api"
)

// stream is clients that issue as fast as they are answered.
type stream struct {
	r       *racing
	stopped atomic.Bool
	clients sync.WaitGroup
	mu      sync.Mutex
	got     []issued
	refused []refusal
}

type issued struct {
	credential
	asked, answered time.Time
}

type refusal struct {
	asked time.Time
	err   error
}

// stream starts one client for each of these.
func (r *racing) stream(path string, clients ...*vault.Client) *stream {
	s := &stream{r: r}
	for _, c := range clients {
		s.clients.Go(func() {
			for !s.stopped.Load() {
				asked := time.Now()
				cred, err := r.issue(r.ctx, c, path)
				s.mu.Lock()
				if err == nil {
					s.got = append(s.got, issued{cred, asked, time.Now()})
				} else {
					s.refused = append(s.refused, refusal{asked, err})
				}
				s.mu.Unlock()
				time.Sleep(rand.N(8 * pace)) // a stream, not a flood
			}
		})
	}
	return s
}

// answers is how often the clients were answered so far, well or not.
func (s *stream) answers() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.got) + len(s.refused)
}

// refusedAfter is how many requests were refused that were made after t.
func (s *stream) refusedAfter(t time.Time) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, x := range s.refused {
		if x.asked.After(t) && told(x.err) {
			n++
		}
	}
	return n
}

// more waits until the clients were answered n times more.
func (s *stream) more(n int) {
	s.r.Helper()
	n += s.answers()
	if !soon(hang, func() bool { return s.answers() >= n }) {
		s.r.Error("clients are not answered")
	}
}

func (s *stream) end() { s.stopped.Store(true); s.clients.Wait() }

// prefixAgainstIssue: a prefix is revoked while several clients issue below it.
// When the operation is done, nothing lives that was answered before it was asked
// for; what was asked for after it was answered is not touched (A3, A4).
func (r *racing) prefixAgainstIssue() {
	name := r.fresh("stream") // an earlier round holds credentials of another one
	if _, err := r.client(r).Logical().WriteWithContext(r.ctx, "database/roles/"+name, role(longTTL)); err != nil {
		r.Errorf("write a role: %v", err)
		return
	}
	path := "database/creds/" + name
	var clients []*vault.Client
	for range racers {
		clients = append(clients, r.client(r))
	}
	s := r.stream(path, clients...)
	defer s.end()
	s.more(racers + rand.IntN(racers))
	c, sync := r.client(r), rand.IntN(2) == 0
	c.SetClientTimeout(hang) // an intent that was caught ends with its grace (B1)
	asked := time.Now()
	answered, err := r.revokePrefix(c, path, sync, func() { s.more(racers); s.end() })
	if err != nil {
		r.Errorf("revoke %s: %v", path, err)
		s.end()
		for _, i := range s.got {
			r.book.asks(i.credential)
		}
		return
	}
	done := time.Now()
	var before, between, after int
	for _, i := range s.got {
		_, err := expiry(r.ctx, c, i.credential)
		switch {
		case err != nil && !told(err):
			r.book.asks(i.credential)
		case i.answered.Before(asked):
			before++
			r.book.ends(i.credential)
			if err == nil {
				r.outlived("%s was answered before its prefix was revoked, and lives %v after that was done", i.lease, time.Since(done))
			}
		case i.asked.After(answered):
			after++
			r.book.hold(i.credential)
			r.works(i.credential, "the prefix was revoked before it was asked for")
		case err == nil: // begun after the barrier: it stays
			between++
			r.book.hold(i.credential)
		default:
			between++
			r.book.ends(i.credential)
		}
	}
	r.tally(map[string]int{"before": before, "meanwhile": between, "after": after, "refused": len(s.refused)})
}

// revokePrefix returns when the operation is done. answered is when its barrier
// was certainly committed, after which then is done.
func (r *racing) revokePrefix(c *vault.Client, path string, sync bool, then func()) (answered time.Time, err error) {
	req := c.NewRequest(http.MethodPut, "/v1/sys/leases/revoke-prefix/"+path)
	if err := req.SetJSONBody(map[string]any{"sync": sync}); err != nil {
		return answered, err
	}
	res, err := c.RawRequestWithContext(r.ctx, req) //nolint:staticcheck // the answer's header is what is wanted
	if err != nil {
		return answered, err
	}
	_ = res.Body.Close() // nothing of it is read
	answered = time.Now()
	then()
	if sync {
		return answered, nil
	}
	at := res.Header.Get("Location")
	if !soon(hang, func() bool {
		var s *vault.Secret
		req := c.NewRequest(http.MethodGet, at)
		res, e := c.RawRequestWithContext(r.ctx, req) //nolint:staticcheck // the path is the answer's
		if err = e; err != nil {
			return false
		}
		defer func() { _ = res.Body.Close() }() // it was read
		if s, err = vault.ParseSecret(res.Body); err != nil {
			return false
		}
		if s.Data["finished"] != true {
			err = fmt.Errorf("the operation has not finished: %s", text(s.Data))
		}
		return err == nil
	}) {
		return answered, err
	}
	return answered, nil
}

// tokenAgainstIssue: a token is revoked while clients issue with it and with its
// child. Once that was answered, neither token issues, and nothing that they ever
// issued stays (A3).
func (r *racing) tokenAgainstIssue() {
	c := r.client(r)
	create := func(by *vault.Client) *vault.Client {
		s, err := by.Logical().WriteWithContext(r.ctx, "auth/token/create", map[string]any{"ttl": "1h", "policies": []string{"racing"}})
		if err != nil {
			r.Errorf("make a token: %v", err)
			return nil
		}
		own, err := as(by, s.Auth.ClientToken)
		if err != nil {
			r.Errorf("make a client: %v", err)
		}
		return own
	}
	parent := create(c)
	if parent == nil {
		return
	}
	child := create(parent)
	if child == nil {
		return
	}
	s := r.stream("database/creds/app", parent, parent, child, child)
	defer s.end()
	s.more(racers + rand.IntN(racers))
	if _, err := c.Logical().WriteWithContext(r.ctx, "auth/token/revoke", map[string]any{"token": parent.Token()}); err != nil {
		r.Errorf("revoke a token: %v", err)
		return
	}
	answered := time.Now()
	s.more(racers)
	if !soon(hang, func() bool { return s.refusedAfter(answered) > 0 }) {
		r.Error("no client was refused after its token's revocation")
	}
	s.end()
	for _, i := range s.got {
		r.book.ends(i.credential)
		if i.asked.After(answered) {
			r.outlived("%s was issued %v after its token's revocation was answered", i.lease, i.asked.Sub(answered))
		}
	}
	r.tally(map[string]int{"issued": len(s.got), "refused": len(s.refused)})
}

// tally adds to what came of the rounds.
func (r *racing) tally(n map[string]int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for what, n := range n {
		r.done[what] += n
	}
}

// fresh is a name that nothing has yet.
func (r *racing) fresh(kind string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.made++
	return fmt.Sprint(kind, r.made)
}
