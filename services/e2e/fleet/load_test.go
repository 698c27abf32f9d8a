//go:build e2e

package fleet

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	vault "github.com/hashicorp/vault/api"
)

// load is clients that live their lives until they are stopped.
type load struct {
	f       *fleet
	cancel  context.CancelFunc
	clients sync.WaitGroup
	done    atomic.Int64 // answered requests
	before  int          // of book.refused
	errors  int          // before
}

// most is how many credentials the clients of a load hold.
const most = 60

// load starts clients with the library's ordinary retries.
func (f *fleet) load(tb testing.TB, clients int) *load {
	tb.Helper()
	// A client that is stopped finishes what it began: an answer that nobody waits
	// for is another test's.
	ctx := context.WithoutCancel(tb.Context())
	stopped, cancel := context.WithCancel(ctx)
	refused, errors := f.book.trouble()
	l := &load{f: f, cancel: cancel, before: refused, errors: len(errors)}
	for range clients {
		c := f.client(tb)
		l.clients.Go(func() {
			for stopped.Err() == nil {
				l.life(ctx, c)
			}
		})
	}
	tb.Cleanup(func() { cancel(); l.clients.Wait() }) // of a test that failed
	return l
}

// life is that of one credential.
func (l *load) life(ctx context.Context, c *vault.Client) {
	b := l.f.book
	if rand.IntN(8) == 0 {
		if cred, err := issue(ctx, c, "brief"); l.took(err) {
			b.note(func() { b.ended[cred.user] = cred })
		}
		return
	}
	cred, err := issue(ctx, c, "app")
	if !l.took(err) {
		return
	}
	b.note(func() { b.held[cred.user] = cred })
	if rand.IntN(2) == 0 {
		_, err := c.Sys().RenewWithContext(ctx, cred.lease, 3600)
		l.took(err) // it is held either way
	}
	if len(b.holds()) < most && rand.IntN(3) == 0 {
		return
	}
	b.note(func() { b.unclear[cred.user] = cred; delete(b.held, cred.user) })
	if l.took(revoke(ctx, c, cred.lease, rand.IntN(2) == 0)) {
		b.note(func() { b.ended[cred.user] = cred; delete(b.unclear, cred.user) })
	}
}

// took notes the end of a request and reports whether it was answered well.
func (l *load) took(err error) bool {
	if err != nil {
		l.f.book.note(func() { l.f.book.errors = append(l.f.book.errors, err) })
		return false
	}
	l.done.Add(1)
	return true
}

// more waits until n further requests were answered well.
func (l *load) more(tb testing.TB, n int64) time.Duration {
	tb.Helper()
	goal := l.done.Load() + n
	return eventually(tb, "requests under load", func() error {
		if done := l.done.Load(); done < goal {
			_, errors := l.f.book.trouble()
			return shortError{done, goal, errors}
		}
		return nil
	})
}

// stop ends the load and returns the errors that its clients saw beyond the
// library's retries.
func (l *load) stop(tb testing.TB) []error {
	tb.Helper()
	l.cancel()
	l.clients.Wait()
	refused, errors := l.f.book.trouble()
	errors = errors[l.errors:]
	tb.Logf("load: %d requests answered; %d attempts failed, %d errors beyond the library's retries",
		l.done.Load(), refused-l.before, len(errors))
	for i, err := range errors {
		if i == 5 {
			tb.Logf("and %d more", len(errors)-i)
			break
		}
		tb.Logf("a client saw: %v", err)
	}
	return errors
}
