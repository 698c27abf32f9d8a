package unseal

import (
	"errors"
	"sync"
	"testing"

	"github.com/curfew-project/curfew/issuer"
	"github.com/curfew-project/curfew/shared/secret"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/store/storetest"
)

// parted is an installation whose key was handed out in three shares, two of
// which open it.
func (d *disk) parted() []secret.Value {
	d.Helper()
	made, err := d.manual().Initialize(d.Context(), issuer.InitRequest{Shares: 3, Threshold: 2})
	if err != nil || len(made.Keys) != 3 || len(made.KeysBase64) != 3 {
		d.Fatalf("init: %d keys, %v", len(made.Keys), err)
	}
	return made.Keys
}

// manual is a process without a key of its own.
func (d *disk) manual() *Installation {
	d.Helper()
	i := d.process(false)
	i.cfg.Manual, i.cfg.KeyFile = true, ""
	if _, err := i.Load(d.Context()); err != nil {
		d.Fatal(err)
	}
	return i
}

// give gives a share and checks how far it led.
func (d *disk) give(i *Installation, share secret.Value, want error, progress int) {
	d.Helper()
	if err := i.Unseal(d.Context(), share, someone); !errors.Is(err, want) {
		d.Errorf("unseal: %v, want %v", err, want)
	}
	s, err := i.Status(d.Context())
	if err != nil || s.Progress != progress || s.Shares != 3 || s.Threshold != 2 || (s.Nonce != "") != (progress > 0) {
		d.Errorf("the status is %+v, %v; want progress %d of 2", s, err, progress)
	}
}

// Law: shares count once each, of one process each; what is no share is refused
// and costs none of those that were given.
func TestShares(t *testing.T) {
	t.Parallel()
	d := newDisk(t)
	shares := d.parted()
	foreign := newDisk(t).parted()
	i, other := d.manual(), d.manual()
	d.give(i, shares[2], nil, 1)
	d.give(i, shares[2], nil, 1)
	for _, wrong := range append(foreign, secret.New("AAAA")) {
		d.give(i, wrong, issuer.ErrWrongKey, 1)
	}
	d.give(i, secret.New("no key"), issuer.ErrNoKey, 1)
	d.sealed(i, true)
	d.give(other, shares[0], nil, 1)
	d.sealed(other, true)
	i.Reset()
	d.give(i, shares[0], nil, 1)
	d.give(i, shares[1], nil, 0)
	d.sealed(i, false)
	d.sealed(other, true)
	d.give(other, shares[1], nil, 0)
	if text, err := other.Open(i.mustSeal(t, "x"), "about"); err != nil || string(text) != "x" {
		t.Errorf("two processes have two keys: %q, %v", text, err)
	}
}

// Law: where the commit that ends a seal fails, any share tries it again; also of
// people who all give theirs at the same time.
func TestSharesWithFaults(t *testing.T) {
	t.Parallel()
	d := newDisk(t)
	shares := d.parted()
	i := d.manual()
	d.give(i, shares[0], nil, 1)
	d.give(i, shares[1], nil, 0)
	if err := i.Shut(t.Context(), requested); err != nil {
		t.Fatal(err)
	}
	d.give(i, shares[0], nil, 1)
	d.store.Break(storetest.Fault{Method: "Write"})
	d.give(i, shares[1], storetest.ErrInjected, 2)
	d.sealed(i, true)
	d.store.Break()
	d.give(i, shares[0], nil, 0)
	d.sealed(i, false)

	if err := i.Shut(t.Context(), requested); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for _, share := range shares {
		all.Go(func() {
			if err := i.Unseal(t.Context(), share, someone); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	d.sealed(i, false)
	if s, err := i.Status(t.Context()); err != nil || s.Progress != 0 {
		t.Errorf("a share was left behind: %+v, %v", s, err)
	}
	if _, err := d.fake.Entry(t.Context(), store.KindSystem, openKey); err != nil {
		t.Error(err)
	}
}

// A key that stays in a file is not parted.
func TestNoSharesOfAKeyFile(t *testing.T) {
	t.Parallel()
	d := newDisk(t)
	if _, err := d.process(false).Initialize(t.Context(), issuer.InitRequest{Shares: 3, Threshold: 2}); !errors.Is(err, issuer.ErrNoShares) {
		t.Error(err)
	}
	d.begun()
}
