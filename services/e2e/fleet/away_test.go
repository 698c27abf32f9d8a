//go:build e2e

package fleet

import (
	"slices"
	"testing"
	"time"

	vault "github.com/hashicorp/vault/api"
)

const (
	// expiryWithin is the promise where Redis and NATS are away: 2 s, and the
	// time that the target takes. Both are doubled here: the machine is shared.
	expiryWithin = 2 * (2*time.Second + targetWithin)
	targetWithin = 500 * time.Millisecond
)

// serversAway: everything works without Redis, without NATS and without
// both, whether they refuse or hang, and the record is complete when they are
// back (promise 6, C9, D1).
func serversAway(t *testing.T, f *fleet) {
	t.Helper()
	stopped := func(t *testing.T, parts ...string) (back func()) {
		t.Helper()
		f.stop(t, parts...)
		return func() { f.start(t) }
	}
	silent := func(t *testing.T, parts ...string) (back func()) {
		t.Helper()
		return f.freeze(t, parts...)
	}
	redis, streams := f.named("index"), f.streams()
	for _, away := range []struct {
		name  string
		parts []string
		leave func(*testing.T, ...string) (back func())
	}{
		{"redis stopped", redis, stopped},
		{"nats stopped", streams, stopped},
		{"both stopped", slices.Concat(redis, streams), stopped},
		{"redis silent", redis, silent},
		{"nats silent", streams, silent},
		{"both silent", slices.Concat(redis, streams), silent},
	} {
		t.Run(away.name, func(t *testing.T) {
			c := f.client(t)
			held, renewed := f.hold(t, c), f.hold(t, c) // from before
			back := away.leave(t, away.parts...)
			ended := f.lives(t, c)
			renew(t, c, renewed, 2*time.Hour)
			f.release(t, c, held, true)
			f.target.logins(t, f.book.holds())
			back()
			f.lives(t, c)
			f.check(t)
			disabled, gone := f.lags(t, ended)
			t.Logf("%s: disabled after their time: %s; gone: %s", away.name, spread(disabled), spread(gone))
			if worst := disabled[len(disabled)-1]; worst > expiryWithin {
				t.Errorf("one was disabled only %v after its time, want %v", worst, expiryWithin)
			}
		})
	}
}

// lives is everything that clients do. The leases that it returns ran out and
// their accounts are gone.
func (f *fleet) lives(t *testing.T, c *vault.Client) (ended []credential) {
	t.Helper()
	for range 10 {
		ended = append(ended, f.brief(t, c))
	}
	for _, sync := range []bool{false, true} {
		cred := f.hold(t, c)
		renew(t, c, cred, 2*time.Hour)
		f.release(t, c, cred, sync)
		ended = append(ended, cred)
	}
	f.hold(t, c)
	f.gone(t, ended)
	return ended[:10]
}
