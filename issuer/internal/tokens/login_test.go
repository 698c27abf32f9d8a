package tokens_test

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/curfew-project/curfew/issuer/internal/request"
	"github.com/curfew-project/curfew/issuer/internal/tokens"
	"github.com/curfew-project/curfew/issuer/internal/wire"
	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/secret"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/store/storetest"
)

const loginPath = "auth/approle/login"

// login logs somebody in.
func (w *world) login(l tokens.Login) (*wire.Answer, error) {
	w.t.Helper()
	if l.Path == "" {
		l.Path = loginPath
	}
	return w.reg.Login(w.t.Context(), &request.Request{
		Operation: engine.Write, Path: l.Path, Mount: "auth/approle/",
		Actor: lease.Actor{Name: "unauthenticated", Address: here, RequestID: "r"},
	}, l)
}

// entry makes an entry that can guard a login.
func (w *world) entry(kind store.Kind, key string) store.Ref {
	w.t.Helper()
	put, err := w.fake.Write(w.t.Context(), store.Write{Puts: []store.Entry{{Kind: kind, Key: key, Value: []byte("{}")}}})
	must(w.t, err)
	return store.Ref{Kind: kind, ID: put[0].ID}
}

func TestLogin(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	auth, role := w.entry(store.KindAuth, "approle/"), w.entry(store.KindAppRole, "m/app")
	a, err := w.login(tokens.Login{
		DisplayName: "approle", Policies: []string{"Readonly", "readonly"}, Meta: map[string]string{"role_name": "app"},
		TTL: 20 * time.Second, MaxTTL: time.Minute, Guard: []store.Ref{role, auth},
	})
	must(t, err)
	got := fmt.Sprint(a.Auth.Policies, a.Auth.Duration, a.Auth.Renewable, a.Auth.Orphan, a.Auth.Metadata, a.Auth.NumUses, a.Warnings, a.Recorded)
	if want := "[default readonly] 20s true true map[role_name:app] 0 [] true"; got != want {
		t.Fatalf("login: %s, want %s", got, want)
	}
	// As long as those of stock servers, which scanners know.
	if text := a.Auth.Token.Reveal(); !regexp.MustCompile(`^hvs\.[\w-]{90,120}$`).MatchString(text) {
		t.Errorf("a token of %d characters", len(text))
	}
	l := w.row(a.Auth.Accessor)
	if l.ID.Path() != loginPath || l.Mount != "auth/approle/" || l.MountID != auth.ID || l.TokenID != "" || l.CappedBy != lease.RoleLimit {
		t.Fatalf("its lease is %+v", l)
	}
	show, err := w.as(a.Auth.Token.Reveal(), w.reg.LookupSelf, nil)
	must(t, err)
	d := show.Data
	if got := fmt.Sprintln(d["path"], d["display_name"], d["orphan"], d["creation_ttl"], d["meta"]); got != "auth/approle/login approle true 20 map[role_name:app]\n" {
		t.Fatalf("lookup-self: %v", d)
	}
	w.clock.Advance(15 * time.Second)
	renewed, err := w.as(a.Auth.Token.Reveal(), w.reg.RenewSelf, map[string]any{"increment": "0"})
	must(t, err)
	if renewed.Auth.Duration != 20*time.Second || len(renewed.Warnings) != 0 {
		t.Fatalf("renewed for %s: %v", renewed.Auth.Duration, renewed.Warnings)
	}
	// A login of the same master key in another process, and after its change.
	for _, masters := range [][]string{{"first"}, {"second", "first"}} {
		if _, _, err := w.registry(masters...).Authenticate(t.Context(), a.Auth.Token, here, "id"); err != nil {
			t.Errorf("with the master keys %v: %v", masters, err)
		}
	}
	if _, _, err := w.registry("second").Authenticate(t.Context(), a.Auth.Token, here, "id"); status(err) != 403 {
		t.Errorf("with another master key: %v", err)
	}
}

// The times of a login are those of stock servers, and what caps them is named.
func TestLoginTerms(t *testing.T) {
	t.Parallel()
	capped := func(asked, by time.Duration, limit lease.Limit) string { return lease.CapWarning(asked, by, limit) }
	for name, c := range map[string]struct {
		in       tokens.Login
		want     time.Duration
		ceiling  time.Duration // 0: none
		by       lease.Limit
		warnings string
	}{
		"nothing asked": {tokens.Login{}, month, month, lease.SystemLimit, ""},
		"a time":        {tokens.Login{TTL: time.Hour}, time.Hour, month, lease.SystemLimit, ""},
		"above the system": {
			tokens.Login{TTL: 2 * month}, month, month, lease.SystemLimit, capped(2*month, month, lease.SystemLimit),
		},
		"above its role": {
			tokens.Login{TTL: 2 * time.Hour, MaxTTL: time.Hour},
			time.Hour, time.Hour, lease.RoleLimit,
			capped(2*time.Hour, time.Hour, lease.RoleLimit),
		},
		"above its own": {
			tokens.Login{TTL: 2 * time.Hour, MaxTTL: time.Hour, ExplicitMaxTTL: time.Minute},
			time.Minute, time.Minute, lease.TokenLimit,
			capped(2*time.Hour, time.Minute, lease.TokenLimit),
		},
		"a maximum only": {tokens.Login{MaxTTL: time.Hour}, time.Hour, time.Hour, lease.RoleLimit, capped(month, time.Hour, lease.RoleLimit)},
		"periodic":       {tokens.Login{TTL: time.Hour, Period: time.Minute}, time.Minute, 0, lease.NoLimit, ""},
		"periodic, above the system": {
			tokens.Login{Period: 2 * month}, month, 0, lease.NoLimit, capped(2*month, month, lease.SystemLimit),
		},
		"periodic, above its role": {
			tokens.Login{Period: time.Hour, MaxTTL: time.Minute}, time.Minute, 0, lease.NoLimit, capped(time.Hour, time.Minute, lease.RoleLimit),
		},
		"periodic with an end": {
			tokens.Login{Period: time.Hour, ExplicitMaxTTL: time.Minute},
			time.Minute, time.Minute, lease.TokenLimit,
			capped(time.Hour, time.Minute, lease.TokenLimit),
		},
	} {
		w := newWorld(t)
		a, err := w.login(c.in)
		must(t, err)
		l := w.row(a.Auth.Accessor)
		if a.Auth.Duration != c.want || l.MaxTTL != c.ceiling || l.CappedBy != c.by || strings.Join(a.Warnings, "|") != c.warnings {
			t.Errorf("%s: %s of at most %s by %q, %q", name, a.Auth.Duration, l.MaxTTL, l.CappedBy, a.Warnings)
		}
		if !l.ExpiresAt.Equal(w.clock.Now().Add(c.want)) {
			t.Errorf("%s: it expires at %s", name, l.ExpiresAt)
		}
	}
}

// What an auth method must not grant.
func TestLoginRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, err := w.login(tokens.Login{Policies: []string{"a", "root"}})
	refused(t, "root", err, 400, "auth methods cannot create root tokens")
	for name, l := range map[string]tokens.Login{
		"the path of created tokens": {Path: "auth/token/create"},
		"no path of an auth method":  {Path: "sys/token/root"},
		"no mount":                   {Path: "auth/login"},
		"an unclean path":            {Path: "auth/approle/../token/create"},
		"a negative use":             {Uses: -1},
		"no network":                 {BoundCIDRs: []string{"10.0.0.0/8", "10.0.0.0/33"}},
	} {
		if _, err := w.login(l); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
	if n := len(w.live()); n != 0 {
		t.Fatalf("%d tokens were made", n)
	}
}

// A token is refused where it is not bound to, before it uses anything up, and
// its children are bound as it is.
func TestBoundCIDRs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	from := func(token secret.Value, address string) error {
		_, actor, err := w.reg.Authenticate(t.Context(), token, address, "id")
		if err != nil && (status(err) != 403 || actor.Name == "unauthenticated") {
			t.Errorf("from %q: %v, recorded as %q", address, err, actor.Name)
		}
		return err
	}
	for _, c := range []struct {
		cidrs []string
		yes   []string
		no    []string
	}{
		{[]string{"10.0.0.0/8", "2001:db8::/32"}, []string{"10.1.2.3", "::ffff:10.1.2.3", "2001:db8::1"}, []string{"11.0.0.1", "2001:db9::1", "", "nonsense"}},
		{[]string{"192.0.2.7"}, []string{"192.0.2.7"}, []string{"192.0.2.8", "::1"}},
		{[]string{"fe80::/10"}, []string{"fe80::1%eth0"}, []string{"10.0.0.1"}},
		{[]string{"0.0.0.0/0"}, []string{"10.0.0.1"}, []string{"::1"}},
		{[]string{"::ffff:10.0.0.0/104"}, []string{"10.1.2.3", "::ffff:10.1.2.3"}, []string{"11.0.0.1"}},
	} {
		a, err := w.login(tokens.Login{Policies: []string{"a"}, BoundCIDRs: c.cidrs, Uses: len(c.yes)})
		must(t, err)
		for _, address := range c.no {
			if from(a.Auth.Token, address) == nil {
				t.Errorf("bound to %v: let in from %q", c.cidrs, address)
			}
		}
		for _, address := range c.yes {
			if err := from(a.Auth.Token, address); err != nil {
				t.Errorf("bound to %v: refused from %s: %v", c.cidrs, address, err)
			}
		}
	}
	bound, err := w.login(tokens.Login{Policies: []string{"a"}, BoundCIDRs: []string{here}})
	must(t, err)
	child, err := w.as(bound.Auth.Token.Reveal(), w.reg.CreateOrphan, nil)
	must(t, err)
	if from(child.Auth.Token, "192.0.2.8") == nil {
		t.Error("a child is not bound as its parent is")
	}
	show, err := w.as(child.Auth.Token.Reveal(), w.reg.LookupSelf, nil)
	must(t, err)
	if fmt.Sprint(show.Data["bound_cidrs"]) != "["+here+"]" {
		t.Errorf("lookup-self: %v", show.Data)
	}
}

// A3: what was withdrawn before the commit lets nobody in.
func TestLoginWithdrawn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	auth, role := w.entry(store.KindAuth, "approle/"), w.entry(store.KindAppRole, "m/app")
	_, err := w.fake.Write(t.Context(), store.Write{Withdrawals: []store.Ref{role}})
	must(t, err)
	_, err = w.login(tokens.Login{Guard: []store.Ref{auth, role}})
	if status(err) != 403 || !errors.Is(err, store.ErrWithdrawn) {
		t.Fatalf("login: %v", err)
	}
	if n := len(w.live()); n != 0 {
		t.Fatalf("%d tokens were made", n)
	}
}

// A6, A8: a login whose commit is not known, or whose answer nobody got, leaves
// no valid token.
func TestLoginNotDelivered(t *testing.T) {
	t.Parallel()
	for _, done := range []bool{false, true} {
		for nth := 1; nth <= 2; nth++ {
			w := newWorld(t)
			w.store.Break(storetest.Fault{Method: "Apply", Nth: nth, Done: done})
			a, err := w.login(tokens.Login{TTL: time.Hour})
			if err == nil {
				ctx, cancel := context.WithCancel(t.Context())
				cancel() // the client's
				must(t, a.Undelivered(ctx))
			}
			if live := w.live(); len(live) != 0 {
				t.Errorf("Apply %d done=%t: %d tokens that nobody has are valid", nth, done, len(live))
			}
		}
	}
}

// A login's token is found by one read, also where the store fails: it is never
// taken for granted.
func TestLoginWhenTheStoreFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, err := w.login(tokens.Login{TTL: time.Hour})
	must(t, err)
	w.store.Break()
	if !w.valid(a.Auth.Token.Reveal()) || w.store.Calls("Find") != 1 || w.store.Calls("Get") != 0 {
		t.Fatalf("it was found by %d Find and %d Get", w.store.Calls("Find"), w.store.Calls("Get"))
	}
	for _, method := range []string{"Find", "Now"} {
		for _, done := range []bool{false, true} {
			w.store.Break(storetest.Fault{Method: method, Done: done})
			if _, _, err := w.reg.Authenticate(t.Context(), a.Auth.Token, here, "id"); err == nil || status(err) == 403 {
				t.Errorf("%s done=%t: %v", method, done, err)
			}
		}
	}
}
