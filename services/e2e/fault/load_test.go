//go:build e2e

package fault

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	vault "github.com/hashicorp/vault/api"
)

// load is clients that live their lives until they are stopped, so that there
// are leases in every state at any time.
type load struct {
	w       *world
	stop    context.CancelFunc
	clients sync.WaitGroup
	done    atomic.Int64 // answered requests
}

// most is how many credentials the clients of a load hold.
const most = 20

func (w *world) load(tb testing.TB, clients int) *load {
	tb.Helper()
	return w.calm(tb, clients, 0)
}

// calm is a load whose clients rest after each life.
func (w *world) calm(tb testing.TB, clients int, rest time.Duration) *load {
	tb.Helper()
	// A client that is stopped finishes what it began.
	ctx := context.WithoutCancel(tb.Context())
	stopped, stop := context.WithCancel(ctx)
	l := &load{w: w, stop: stop}
	for range clients {
		c := w.client(tb)
		l.clients.Go(func() {
			for stopped.Err() == nil {
				if !l.life(ctx, c) {
					time.Sleep(pace) // somebody starts it again
				}
				time.Sleep(rest)
			}
		})
	}
	tb.Cleanup(l.end) // of a test that failed
	return l
}

func (l *load) end() {
	l.stop()
	l.clients.Wait()
}

// life is that of one credential. false: a request was not answered.
func (l *load) life(ctx context.Context, c *vault.Client) bool {
	w, b := l.w, l.w.book
	began := time.Now()
	if rand.IntN(5) == 0 {
		cred, err := w.issue(ctx, c, "database/creds/brief")
		if !l.took(err) {
			return false
		}
		b.ends(cred)
		if err := w.target.login(ctx, cred.user, cred.password); refused(err) && !aged(began, 3*time.Second) {
			b.note(func() {
				b.early = append(b.early, fmt.Sprintf("%s was refused %v after it was asked for: %v", cred.user, time.Since(began), err))
			})
		}
		return true
	}
	cred, err := w.issue(ctx, c, "database/creds/app")
	if !l.took(err) {
		return false
	}
	b.hold(cred)
	if rand.IntN(2) == 0 {
		_, err := c.Sys().RenewWithContext(ctx, cred.lease, longIncrement)
		l.took(err) // it is held either way
	}
	if len(b.holds()) < most && rand.IntN(3) == 0 {
		return true
	}
	b.asks(cred)
	if !l.took(revoke(ctx, c, cred, rand.IntN(2) == 0)) {
		return false
	}
	b.ends(cred)
	return true
}

// took reports whether a request was answered well.
func (l *load) took(err error) bool {
	if err == nil {
		l.done.Add(1)
	}
	return err == nil
}
