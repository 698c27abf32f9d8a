//go:build e2e

package fleet

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	vault "github.com/hashicorp/vault/api"
)

// credential is what a client was given.
type credential struct{ lease, user, password string }

// book is what clients know.
type book struct {
	mu      sync.Mutex
	held    map[string]credential // by user: works until somebody takes it away
	unclear map[string]credential // its revocation was asked for and not answered
	ended   map[string]credential // it was promised to go, or runs out by itself
	refused int                   // attempts that failed; the library repeats most
	errors  []error               // what the library gave to the client in the end

	explained int // of refused, at the last check
}

func newBook() *book {
	return &book{held: map[string]credential{}, unclear: map[string]credential{}, ended: map[string]credential{}}
}

func (b *book) note(change func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change()
}

// holds are the credentials that must work.
func (b *book) holds() []credential {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Collect(maps.Values(b.held))
}

// trouble is how many attempts failed, and what clients saw of it.
func (b *book) trouble() (refused int, errors []error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.refused, slices.Clone(b.errors)
}

// client is one with the library's defaults, its retries too, with connections
// of its own. Attempts that fail are counted.
func (f *fleet) client(tb testing.TB) *vault.Client {
	tb.Helper()
	cfg := vault.DefaultConfig()
	must(tb, cfg.Error, "configure the client")
	cfg.Address = f.URL
	cfg.CheckRetry = func(ctx context.Context, res *http.Response, err error) (bool, error) {
		if err != nil || res.StatusCode >= http.StatusInternalServerError {
			f.book.note(func() { f.book.refused++ })
		}
		return vault.DefaultRetryPolicy(ctx, res, err)
	}
	c, err := vault.NewClient(cfg)
	must(tb, err, "make a client")
	c.SetToken(f.root)
	return c
}

// issue reads a credential of a role.
func issue(ctx context.Context, c *vault.Client, role string) (credential, error) {
	s, err := c.Logical().ReadWithContext(ctx, "database/creds/"+role)
	if err != nil {
		return credential{}, err
	}
	if s == nil {
		return credential{}, fmt.Errorf("read a credential of %s: no value", role)
	}
	return credential{s.LeaseID, fmt.Sprint(s.Data["username"]), fmt.Sprint(s.Data["password"])}, nil
}

// revoke ends a lease; sync waits for the end.
func revoke(ctx context.Context, c *vault.Client, lease string, sync bool) error {
	_, err := c.Logical().WriteWithContext(ctx, "sys/leases/revoke", map[string]any{"lease_id": lease, "sync": sync})
	return err
}

// hold issues a credential that is kept.
func (f *fleet) hold(tb testing.TB, c *vault.Client) credential {
	tb.Helper()
	cred, err := issue(tb.Context(), c, "app")
	must(tb, err, "issue")
	f.book.note(func() { f.book.held[cred.user] = cred })
	return cred
}

// brief issues one that runs out.
func (f *fleet) brief(tb testing.TB, c *vault.Client) credential {
	tb.Helper()
	cred, err := issue(tb.Context(), c, "brief")
	must(tb, err, "issue")
	f.book.note(func() { f.book.ended[cred.user] = cred })
	return cred
}

// release revokes one that was held.
func (f *fleet) release(tb testing.TB, c *vault.Client, cred credential, sync bool) {
	tb.Helper()
	f.book.note(func() { f.book.ended[cred.user] = cred; delete(f.book.held, cred.user) })
	must(tb, revoke(tb.Context(), c, cred.lease, sync), "revoke")
}

// renew renews one and fails unless it was extended.
func renew(tb testing.TB, c *vault.Client, cred credential, d time.Duration) {
	tb.Helper()
	s, err := c.Sys().RenewWithContext(tb.Context(), cred.lease, int(d.Seconds()))
	must(tb, err, "renew")
	if got := time.Duration(s.LeaseDuration) * time.Second; got < d-time.Minute || got > d {
		tb.Errorf("renewed for %v, want %v", got, d)
	}
}
