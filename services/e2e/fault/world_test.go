//go:build e2e

package fault

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"testing"
	"time"

	vault "github.com/hashicorp/vault/api"

	"github.com/curfew-project/curfew/services/internal/instrument"
	"github.com/curfew-project/curfew/shared/testkit/crashpoint"
)

// world is Curfew in one of its forms, a target of its own, and what is known of
// both from outside.
type world struct {
	form   form
	root   string // token
	target *target
	second *target // for other installations; nil until one needs it
	// others are further ones of this installation, each with a mount of its own.
	others  []*target
	book    *book
	record  record
	counted int // leases in rows of the table
	points  []instrument.Point
	control crashpoint.Control
	chance  *rand.Rand // of one goroutine
	made    int        // names that must be new
	late    bool       // which half of late was told last
}

// answerWithin bounds a request. A process that was killed does not answer.
const answerWithin = 10 * time.Second

// client is one that repeats nothing by itself, with connections of its own.
func (w *world) client(tb testing.TB) *vault.Client {
	tb.Helper()
	cfg := vault.DefaultConfig()
	must(tb, cfg.Error, "configure the client")
	cfg.Address, cfg.MaxRetries, cfg.Timeout = w.form.url(), 0, answerWithin
	c, err := vault.NewClient(cfg)
	must(tb, err, "make a client")
	c.SetToken(w.root)
	return c
}

// as is a client with another token.
func as(c *vault.Client, token string) (*vault.Client, error) {
	own, err := c.Clone()
	if err != nil {
		return nil, err
	}
	own.SetToken(token)
	return own, nil
}

// issue reads a credential of a role, and notes where nobody knows whether
// there is one.
func (w *world) issue(ctx context.Context, c *vault.Client, path string) (credential, error) {
	// The HTTP library repeats by itself what it reads, where a connection that was
	// used before ends without an answer.
	var sent atomic.Int64
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		WroteRequest: func(httptrace.WroteRequestInfo) { sent.Add(1) },
	})
	s, err := c.Logical().ReadWithContext(ctx, path)
	if err == nil && s == nil {
		err = errors.New("there is no answer")
	}
	unanswered := max(0, int(sent.Load())-1)
	if err != nil && unclear(err) {
		unanswered++
	}
	w.book.note(func() { w.book.unanswered += unanswered })
	if err != nil {
		return credential{}, err
	}
	return credential{s.LeaseID, fmt.Sprint(s.Data["username"]), fmt.Sprint(s.Data["password"])}, nil
}

// unclear reports whether a request that failed may have been served: no answer,
// or one that says that the server does not know.
func unclear(err error) bool {
	var answer *vault.ResponseError
	return !errors.As(err, &answer) || answer.StatusCode >= http.StatusInternalServerError
}

// revoke ends a lease; sync waits for the end.
func revoke(ctx context.Context, c *vault.Client, cred credential, sync bool) error {
	_, err := c.Logical().WriteWithContext(ctx, "sys/leases/revoke", map[string]any{"lease_id": cred.lease, "sync": sync})
	return err
}

// again starts what does not run and returns the moment at which all can work.
// One that ends as it starts is started again.
func (w *world) again(t *testing.T) time.Time {
	t.Helper()
	var err error
	for range 5 {
		if err = w.form.start(t.Context()); err == nil {
			return time.Now()
		}
	}
	t.Fatalf("start what was killed: %v", err)
	return time.Time{}
}
