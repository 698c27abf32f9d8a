//go:build e2e

package e2e

import (
	"context"
	"testing"
	"time"

	vault "github.com/hashicorp/vault/api"
	vaultapprole "github.com/hashicorp/vault/api/auth/approle"
	baoapprole "github.com/openbao/openbao/api/auth/approle/v2"
	bao "github.com/openbao/openbao/api/v2"
)

// watcher is what a library's LifetimeWatcher says.
type watcher struct {
	renewed chan time.Duration // the term of each renewal; closed when it is done
	done    chan error         // how it ended
}

// watching is the LifetimeWatcher of either library.
type watching[R any] interface {
	Start()
	Stop()
	RenewCh() <-chan R
	DoneCh() <-chan error
}

// watch starts a library's watcher. term is how long a renewal gave.
func watch[R any](tb testing.TB, w watching[R], term func(R) int) *watcher {
	tb.Helper()
	const most = 100 // renewals, which nobody may have taken yet
	out := &watcher{renewed: make(chan time.Duration, most), done: make(chan error, 1)}
	tb.Cleanup(w.Stop)
	go w.Start()
	go func() {
		defer close(out.renewed)
		for {
			select {
			case r := <-w.RenewCh():
				out.renewed <- time.Duration(term(r)) * time.Second
			case err := <-w.DoneCh():
				out.done <- err
				return
			}
		}
	}()
	return out
}

// ended waits until a watcher is done and fails unless it ended well, having
// renewed up to a term that was shorter than the others: that of the ceiling.
func (w *watcher) ended(tb testing.TB, term time.Duration) {
	tb.Helper()
	select {
	case err := <-w.done:
		must(tb, err, "watch")
	case <-time.After(hang):
		tb.Fatal("the watcher has no end")
	}
	var terms []time.Duration
	for t := range w.renewed {
		terms = append(terms, t)
	}
	if n := len(terms); n < 3 || terms[n-1] >= term {
		tb.Errorf("renewals of %v gave %v, want at least three, the last shorter", term, terms)
	}
}

func (v *vaultClient) logIn(tb testing.TB, roleID, secretID string) (client, *watcher) {
	tb.Helper()
	auth, err := vaultapprole.NewAppRoleAuth(roleID, &vaultapprole.SecretID{FromString: secretID})
	must(tb, err, "prepare the login")
	api, err := v.api.Clone()
	must(tb, err, "clone the client")
	secret, err := api.Auth().Login(context.Background(), auth)
	must(tb, err, "log in")
	w, err := api.NewLifetimeWatcher(&vault.LifetimeWatcherInput{Secret: secret})
	must(tb, err, "watch the token")
	return &vaultClient{api}, watch(tb, w, func(r *vault.RenewOutput) int { return r.Secret.Auth.LeaseDuration })
}

func (v *vaultClient) obtain(tb testing.TB, path string) (*answer, *watcher) {
	tb.Helper()
	secret, err := v.api.Logical().Read(path)
	a, err := vaultAnswer(secret, err)
	must(tb, err, "read "+path)
	w, err := v.api.NewLifetimeWatcher(&vault.LifetimeWatcherInput{Secret: secret})
	must(tb, err, "watch the lease")
	return a, watch(tb, w, func(r *vault.RenewOutput) int { return r.Secret.LeaseDuration })
}

func (b *baoClient) logIn(tb testing.TB, roleID, secretID string) (client, *watcher) {
	tb.Helper()
	auth, err := baoapprole.NewAppRoleAuth(roleID, &baoapprole.SecretID{FromString: secretID})
	must(tb, err, "prepare the login")
	api, err := b.api.Clone()
	must(tb, err, "clone the client")
	secret, err := api.Auth().Login(context.Background(), auth)
	must(tb, err, "log in")
	w, err := api.NewLifetimeWatcher(&bao.LifetimeWatcherInput{Secret: secret})
	must(tb, err, "watch the token")
	return &baoClient{api}, watch(tb, w, func(r *bao.RenewOutput) int { return r.Secret.Auth.LeaseDuration })
}

func (b *baoClient) obtain(tb testing.TB, path string) (*answer, *watcher) {
	tb.Helper()
	secret, err := b.api.Logical().Read(path)
	a, err := baoAnswer(secret, err)
	must(tb, err, "read "+path)
	w, err := b.api.NewLifetimeWatcher(&bao.LifetimeWatcherInput{Secret: secret})
	must(tb, err, "watch the lease")
	return a, watch(tb, w, func(r *bao.RenewOutput) int { return r.Secret.LeaseDuration })
}

// How long a lease and a token of a patient application are for, and the ceiling
// that renewals reach.
const (
	patience     = 10 * time.Second
	patienceEnds = 25 * time.Second
)

func (h *host) vaultWatchers(t *testing.T) {
	t.Helper()
	h.watchers(t, newVault(t, h.server), "vault")
}

func (h *host) openbaoWatchers(t *testing.T) {
	t.Helper()
	h.watchers(t, newBao(t, h.server), "openbao")
}

// watchers: the watchers of a library renew a token and a lease until their
// ceiling, where they are done; then the application logs in again, or reads
// again, and holds something new, and the old ends by itself.
func (h *host) watchers(t *testing.T, library client, name string) {
	t.Helper()
	long := h.letIn(t, name, patience, patienceEnds, map[string]any{"token_ttl": "1h"}) // outlives its leases
	short := h.letIn(t, name+"-short", time.Hour, time.Hour,
		map[string]any{"token_ttl": patience.String(), "token_max_ttl": patienceEnds.String()})

	app, _ := library.logIn(t, long.roleID, long.secretID)
	a, lease := app.obtain(t, "database/creds/"+long.role)
	first := credentialOf(a)
	term(t, first.duration, patience)
	brief, token := library.logIn(t, short.roleID, short.secretID)
	before, err := brief.lookupSelf()
	must(t, err, "look up the token")
	hers := issue(t, brief, "database/creds/"+short.role)
	term(t, hers.duration, patience) // its token's

	token.ended(t, patience)
	brief, _ = library.logIn(t, short.roleID, short.secretID)
	after, err := brief.lookupSelf()
	must(t, err, "look up the new token")
	want(t, "a second login gave the first token", before.text("accessor") == after.text("accessor"), false)
	h.target.gone(t, hers.user)

	lease.ended(t, patience)
	second := issue(t, app, "database/creds/"+long.role)
	want(t, "a second read gave the first account", first.user == second.user, false)
	want(t, "the new credential works", h.target.works(t, second), true)
	h.target.gone(t, first.user)
}
