package tokens_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/curfew-project/curfew/issuer/internal/request"
	"github.com/curfew-project/curfew/issuer/internal/tokens"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/store/storetest"
)

// A3: revoke-orphan takes a token and leaves its children, in one commit that
// tells whoever takes the rest away; what is made after it meets the end.
func TestRevokeOrphan(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	parent := w.token(map[string]any{"ttl": "1h"})
	child, err := w.as(parent.Token.Reveal(), w.reg.Create, map[string]any{"policies": "a", "ttl": "1h"})
	must(t, err)
	orphan := func() any {
		return w.do(w.reg.Lookup, map[string]any{"token": child.Auth.Token.Reveal()}).Data["orphan"]
	}
	if orphan() != false {
		t.Fatal("a child is shown as an orphan")
	}
	a := w.do(w.reg.RevokeOrphan, map[string]any{"token": parent.Token.Reveal()})
	if a.Code() != 204 || !a.Recorded {
		t.Fatalf("answered %d", a.Code())
	}
	if l := w.row(parent.Accessor); l.State != lease.Revoking || !l.Revocation.KeepTokens {
		t.Fatalf("the parent is %s: %+v", l.State, l.Revocation)
	}
	if w.valid(parent.Token.Reveal()) || !w.valid(child.Auth.Token.Reveal()) || orphan() != true {
		t.Fatal("the wrong one ended, or the child is no orphan")
	}
	renewed := w.do(w.reg.Renew, map[string]any{"token": child.Auth.Token.Reveal()})
	if !renewed.Auth.Orphan {
		t.Fatal("its renewal does not show it as an orphan")
	}
	// The parent's row is gone at last; the child is what it was.
	must(t, w.forget(parent.Accessor))
	if orphan() != true {
		t.Fatal("it was an orphan only as long as its parent was remembered")
	}
	if a := w.do(w.reg.RevokeOrphan, map[string]any{"token": "hvs.long-gone"}); a.Code() != 204 {
		t.Fatalf("one that is gone: %d", a.Code())
	}
	_, err = w.as(w.root, w.reg.RevokeOrphan, nil)
	refused(t, "no token", err, 400, "missing token")
}

// forget ends a token and prunes it, as time does.
func (w *world) forget(accessor string) error {
	l := w.row(accessor)
	out := w.fake.Apply(w.t.Context(), store.Transition{Change: lease.Change{
		ID: l.ID, Version: l.Version, Key: "k", By: lease.System(lease.ActorSweep), Do: lease.Finish{To: lease.Revoked},
	}})
	if out[0].Err != nil {
		return out[0].Err
	}
	w.clock.Advance(time.Second)
	head, err := w.number()
	if err != nil {
		return err
	}
	if err := w.fake.Confirm(w.t.Context(), store.Ledger, head); err != nil {
		return err
	}
	n, err := w.fake.Prune(w.t.Context(), w.clock.Now(), 10)
	if n != 1 && err == nil {
		err = fmt.Errorf("%d were pruned", n)
	}
	return err
}

// Each call of revoke-orphan fails once, in both ways: it is done, or the
// parent is valid; the child is valid in any case.
func TestRevokeOrphanWhenTheStoreFails(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"Get", "Now", "Apply"} {
		for _, done := range []bool{false, true} {
			w := newWorld(t)
			parent := w.token(map[string]any{"ttl": "1h"})
			child, err := w.as(parent.Token.Reveal(), w.reg.Create, map[string]any{"policies": "a", "ttl": "1h"})
			must(t, err)
			_, err = w.as(w.root, w.reg.RevokeOrphan, map[string]any{"token": parent.Token.Reveal()}, func(*request.Request) {
				w.store.Break(storetest.Fault{Method: method, Nth: 1, Done: done})
			})
			w.store.Break()
			if err == nil {
				t.Errorf("%s done=%t was answered as success", method, done)
			}
			if gone := !w.valid(parent.Token.Reveal()); gone != (method == "Apply" && done) {
				t.Errorf("%s done=%t: the parent is gone: %t", method, done, gone)
			}
			if !w.valid(child.Auth.Token.Reveal()) {
				t.Errorf("%s done=%t: the child is gone", method, done)
			}
		}
	}
}

// Law: pages of any size, put together, are the accessors of all valid tokens,
// each once, whatever ends between them.
func TestAccessors(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var all []string
	short := w.token(map[string]any{"ttl": "1m", "policies": "a"}).Accessor
	for range 3 {
		all = append(all, w.token(nil).Accessor) // never expires
		all = append(all, w.token(map[string]any{"ttl": "1h", "policies": "a"}).Accessor)
	}
	for range 4 {
		a, err := w.login(tokens.Login{TTL: time.Hour})
		must(t, err)
		all = append(all, a.Auth.Accessor)
	}
	self := w.do(w.reg.LookupSelf, nil).Data["accessor"].(string)
	all = append(all, self)
	slices.Sort(all)
	list := func(after string, limit int) []string {
		a, err := w.as(w.root, w.reg.Accessors, nil, func(r *request.Request) { r.After, r.Limit = after, limit })
		if status(err) == 404 {
			return nil
		}
		must(t, err)
		return a.Data["keys"].([]string)
	}
	if got := list("", 0); len(got) != len(all)+1 || !slices.Contains(got, short) {
		t.Fatalf("%d of %d are listed", len(got), len(all)+1)
	}
	w.clock.Advance(time.Minute) // short has expired, and nobody has ended it yet
	for limit := 1; limit <= len(all)+1; limit++ {
		var got []string
		for after := ""; ; {
			page := list(after, limit)
			if len(page) > limit {
				t.Fatalf("a page of %d has %d", limit, len(page))
			}
			got = append(got, page...)
			if len(page) < limit {
				break
			}
			after = page[len(page)-1]
		}
		if slices.Sort(got); !slices.Equal(got, all) {
			t.Fatalf("pages of %d: %v, want %v", limit, got, all)
		}
	}
	// The page that follows one whose last token has ended by then.
	page := list("", 3)
	rest := list(page[2], 0)
	if page[2] != self {
		w.do(w.reg.RevokeAccessor, map[string]any{"accessor": page[2]})
	}
	if got := list(page[2], 0); !slices.Equal(got, rest) {
		t.Fatalf("after one that ended: %v, want %v", got, rest)
	}
	_, err := w.as(w.root, w.reg.Accessors, nil, func(r *request.Request) { r.After = "nobody" })
	refused(t, "after nobody", err, 400, "after names no token: list from the beginning")
}

func TestAccessorsWhenTheStoreFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, method := range []string{"Find", "Now"} {
		_, err := w.as(w.root, w.reg.Accessors, nil, func(*request.Request) {
			w.store.Break(storetest.Fault{Method: method})
		})
		w.store.Break()
		if err == nil {
			t.Errorf("%s fails, and a list is answered", method)
		}
	}
}

func TestRenewAccessor(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	made := w.token(map[string]any{"ttl": "10m", "policies": "a"})
	w.clock.Advance(9 * time.Minute)
	a := w.do(w.reg.RenewAccessor, map[string]any{"accessor": made.Accessor, "increment": "5m"})
	if !a.Auth.Token.Empty() || a.Auth.Accessor != made.Accessor || a.Auth.Duration != 5*time.Minute {
		t.Fatalf("renewed %s for %s, tells the token: %v", a.Auth.Accessor, a.Auth.Duration, !a.Auth.Token.Empty())
	}
	_, err := w.as(w.root, w.reg.RenewAccessor, map[string]any{"accessor": "nobody"})
	refused(t, "nobody's", err, 403, "invalid accessor")
	fixed := w.token(map[string]any{"ttl": "10m", "policies": "a", "renewable": false})
	_, err = w.as(w.root, w.reg.RenewAccessor, map[string]any{"accessor": fixed.Accessor})
	refused(t, "not renewable", err, 400, "lease is not renewable")
}

func TestTidy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if a := w.do(w.reg.Tidy, nil); a.Code() != 202 || len(a.Warnings) != 1 {
		t.Fatalf("answered %d %v", a.Code(), a.Warnings)
	}
}

// What only root may, sudo may too; nobody else.
func TestSudo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	parent := w.token(map[string]any{"ttl": "1h", "policies": "a"}).Token.Reveal()
	with := func(sudo bool) func(*request.Request) { return func(r *request.Request) { r.Sudo = sudo } }
	for want, data := range map[string]map[string]any{
		"root or sudo privileges required to create orphan token":   {"no_parent": true},
		"root or sudo privileges required to create periodic token": {"period": "5m"},
		"child policies must be subset of parent":                   {"policies": "b"},
	} {
		_, err := w.as(parent, w.reg.Create, data, with(false))
		refused(t, "without sudo", err, 400, want)
		if _, err := w.as(parent, w.reg.Create, data, with(true)); err != nil {
			t.Errorf("with sudo, %v: %v", data, err)
		}
	}
	if _, err := w.as(parent, w.reg.CreateOrphan, nil, with(false)); err != nil {
		t.Errorf("create-orphan, which its path allows: %v", err)
	}
	_, err := w.as(parent, w.reg.Create, map[string]any{"policies": "root"}, with(true))
	refused(t, "root with sudo", err, 400, "root tokens may not be created without parent token being root")
	_, err = w.as(w.root, w.reg.Create, map[string]any{"policies": "response-wrapping"})
	refused(t, "the wrapping policy", err, 400, `cannot assign policy "response-wrapping"`)
}

// Law: without sudo no token gets a policy that its parent has not, whatever is
// asked; with it only root stays out of reach, and root is alone.
func TestRights(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	names := rapid.SampledFrom([]string{"a", "b", "c", "default", "root", " A ", "B", ""})
	rapid.Check(t, func(rt *rapid.T) {
		parent := w.token(map[string]any{
			"ttl": "1h", "policies": strings.Join(rapid.SliceOfN(names, 1, 4).Draw(rt, "parent"), ","),
			"no_default_policy": rapid.Bool().Draw(rt, "without default"),
		})
		sudo := rapid.Bool().Draw(rt, "sudo")
		asked := rapid.SliceOfN(names, 0, 4).Draw(rt, "asked")
		a, err := w.as(parent.Token.Reveal(), w.reg.Create, map[string]any{
			"policies": strings.Join(asked, ","), "no_default_policy": rapid.Bool().Draw(rt, "child without default"),
		}, func(r *request.Request) { r.Sudo = sudo })
		if err != nil {
			if status(err) != 400 {
				rt.Fatal(err)
			}
			return
		}
		got, root := a.Auth.Policies, slices.Contains(parent.Policies, "root")
		if !slices.IsSorted(got) || len(slices.Compact(slices.Clone(got))) != len(got) {
			rt.Fatalf("it has %v", got)
		}
		if slices.Contains(got, "root") && (!root || len(got) != 1) {
			rt.Fatalf("%v made %v", parent.Policies, got)
		}
		for _, p := range got {
			if !sudo && !root && !slices.Contains(parent.Policies, p) {
				rt.Fatalf("%v asked for %v and got %v", parent.Policies, asked, got)
			}
		}
	})
}

// A client that sends the former name of the ttl does not get a longer one.
func TestFormerNameOfTTL(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if got := w.token(map[string]any{"lease": "5m", "policies": "a"}).Duration; got != 5*time.Minute {
		t.Fatalf("made for %s", got)
	}
	if got := w.token(map[string]any{"lease": "5m", "ttl": "1m", "policies": "a"}).Duration; got != time.Minute {
		t.Fatalf("made for %s", got)
	}
}
