package unseal

import (
	"encoding/base64"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/curfew-project/curfew/issuer"
	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/secret"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/store/storetest"
)

func (d *disk) begun() *Installation {
	d.Helper()
	i, err := d.start()
	if err != nil {
		d.Fatal(err)
	}
	return i
}

func (d *disk) sealed(i *Installation, want bool) {
	d.Helper()
	s, err := i.Status(d.Context())
	if err != nil || s.Sealed != want || !s.Initialized {
		d.Errorf("the status is %+v, %v; want sealed %t", s, err, want)
	}
}

// masterKey is the key of the key file, as a person has it.
func (d *disk) masterKey() secret.Value {
	d.Helper()
	text, err := os.ReadFile(d.key())
	if err != nil {
		d.Fatal(err)
	}
	return secret.New(strings.TrimSpace(string(text)))
}

var (
	someone   = lease.Actor{Name: "unseal key", Address: "192.0.2.7"}
	requested = event.Event{Type: event.ConfigChanged, Subject: "sys/seal"}
)

// Law: a seal is of every process, and of those to come; it refuses, in the
// commit, also what a process begins that has not heard of it; it takes the key
// from nobody; and who has the key ends it, for all.
func TestSealIsOfAll(t *testing.T) {
	t.Parallel()
	d := newDisk(t)
	one, other := d.begun(), d.begun()
	before := other.Guard()
	if len(before) != 1 {
		t.Fatalf("the guard is %v", before)
	}
	if err := one.Shut(t.Context(), requested); err != nil {
		t.Fatal(err)
	}
	d.sealed(one, true)
	begin := store.Transition{
		Change: lease.Change{ID: lease.NewID("a/b"), Key: "k", Do: lease.Begin{Lease: lease.Lease{Kind: lease.Secret, Target: "t"}}},
		Guard:  store.Guard{Entries: other.Guard()},
	}
	if out := d.fake.Apply(t.Context(), begin); !errors.Is(out[0].Err, store.ErrWithdrawn) || out[0].Withdrawn != string(store.KindSystem) {
		t.Errorf("a process that has not heard of the seal issues: %+v", out[0])
	}
	if again, err := other.Do(t.Context()); err != nil || again != lookEvery || again > time.Second {
		t.Errorf("look: %s, %v", again, err)
	}
	d.sealed(other, true)
	restarted := d.begun()
	d.sealed(restarted, true)
	for _, i := range []*Installation{one, other, restarted} {
		if text, err := i.Open(i.mustSeal(t, "x"), "about"); err != nil || string(text) != "x" {
			t.Errorf("the key is gone: %q, %v", text, err)
		}
		if err := i.Shut(t.Context()); err != nil {
			t.Errorf("sealed again: %v", err)
		}
	}

	for text, want := range map[string]error{
		"no key": issuer.ErrNoKey, "": issuer.ErrWrongKey, "AAAA": issuer.ErrWrongKey,
		base64.StdEncoding.EncodeToString(make([]byte, 32)): issuer.ErrWrongKey,
	} {
		if err := other.Unseal(t.Context(), secret.New(text), someone); !errors.Is(err, want) {
			t.Errorf("unsealed with %q: %v, want %v", text, err, want)
		}
	}
	d.sealed(other, true)
	if err := other.Unseal(t.Context(), d.masterKey(), someone); err != nil {
		t.Fatal(err)
	}
	d.sealed(other, false)
	if _, err := one.Do(t.Context()); err != nil {
		t.Fatal(err)
	}
	d.sealed(one, false)
	if now := one.Guard(); len(now) != 1 || now[0] == before[0] {
		t.Errorf("the guard is %v, was %v", now, before)
	}
	if err := one.Unseal(t.Context(), secret.New("whatever"), someone); err != nil {
		t.Errorf("what is open is unsealed: %v", err)
	}
}

func (i *Installation) mustSeal(t *testing.T, text string) []byte {
	t.Helper()
	sealed, err := i.Seal([]byte(text), "about")
	if err != nil {
		t.Fatal(err)
	}
	return sealed
}

// Law: a seal or its end whose commit fails either way leaves process and store
// agreed, and can be repeated; the event is there if and only if it happened.
func TestSealWithFaults(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]storetest.Fault{
		"not done": {Method: "Write"}, "done, not answered": {Method: "Write", Done: true}, "not read": {Method: "Entry"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDisk(t)
			i := d.begun()
			act := func(act func() error, done bool) {
				t.Helper()
				d.store.Break(f)
				if err := act(); err == nil {
					t.Error("a lost commit is answered")
				}
				d.store.Break()
				open, err := i.guard(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				d.sealed(d.begun(), open == "") // a process that starts after a kill
				if _, err := i.Do(t.Context()); err != nil {
					t.Fatal(err)
				}
				d.sealed(i, open == "")
				if err := act(); err != nil {
					t.Errorf("repeated: %v", err)
				}
				d.sealed(i, done)
			}
			act(func() error { return i.Shut(t.Context(), requested) }, true)
			act(func() error { return i.Unseal(t.Context(), d.masterKey(), someone) }, false)
			if n := d.changes("sys/seal"); n != 1 {
				t.Errorf("%d events of one seal", n)
			}
			if n := d.changes("sys/unseal"); n != 1 {
				t.Errorf("%d events of one unseal", n)
			}
		})
	}
}

// changes counts the events about a subject.
func (d *disk) changes(subject string) (n int) {
	d.Helper()
	l, ok, err := d.fake.Acquire(d.Context(), "publisher", "test", time.Hour)
	if err != nil || !ok {
		d.Fatal(ok, err)
	}
	if _, _, err := d.fake.Number(d.Context(), l, 1000); err != nil {
		d.Fatal(err)
	}
	all, err := d.fake.Events(d.Context(), event.Position{}, 1000)
	if err != nil {
		d.Fatal(err)
	}
	for _, e := range all {
		if e.Subject == subject {
			n++
		}
	}
	return n
}

// Without a key of its own a process is sealed until people give it theirs,
// which they got when they initialised it; after each start again.
func TestManual(t *testing.T) {
	t.Parallel()
	d := newDisk(t)
	start := func() *Installation {
		t.Helper()
		i := d.process(false)
		i.cfg.Manual, i.cfg.KeyFile = true, ""
		if _, err := i.Load(t.Context()); err != nil {
			t.Fatal(err)
		}
		return i
	}
	i := start()
	if s, _ := i.Status(t.Context()); s.Initialized || !s.Sealed || s.Type != "shamir" || s.Shares != 0 {
		t.Errorf("before: %+v", s)
	}
	if err := i.Unseal(t.Context(), secret.New("AAAA"), someone); !errors.Is(err, issuer.ErrNotInitialized) {
		t.Errorf("unsealed before there is anything: %v", err)
	}
	made, err := i.Initialize(t.Context(), issuer.InitRequest{Shares: 1, Threshold: 1})
	if err != nil || len(made.Keys) != 1 || len(made.KeysBase64) != 1 || d.roots[made.RootToken.Reveal()] != 1 {
		t.Fatalf("init: %d keys, %v", len(made.Keys), err)
	}
	d.sealed(i, true)
	if _, err := i.Initialize(t.Context(), issuer.InitRequest{}); !errors.Is(err, issuer.ErrInitialized) {
		t.Errorf("a second time: %v", err)
	}
	if _, err := i.Derive("p"); !errors.Is(err, errSealed) {
		t.Errorf("it has a key: %v", err)
	}
	if _, err := os.Stat(d.key()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("there is a key file: %v", err)
	}
	for _, key := range []secret.Value{made.Keys[0], made.KeysBase64[0]} {
		i := start()
		d.sealed(i, true)
		if err := i.Unseal(t.Context(), key, someone); err != nil {
			t.Fatal(err)
		}
		d.sealed(i, false)
		<-i.Ready()
		// People's seal, too, ends with the one key.
		if err := i.Shut(t.Context()); err != nil {
			t.Fatal(err)
		}
		i = start()
		d.sealed(i, true)
		if err := i.Unseal(t.Context(), key, someone); err != nil {
			t.Fatal(err)
		}
		d.sealed(i, false)
	}
}

// The key may come from the environment in place of a file.
func TestKeyOfTheEnvironment(t *testing.T) {
	t.Parallel()
	d := newDisk(t)
	text := base64.StdEncoding.EncodeToString([]byte("0123456789abcdef0123456789abcdef"))
	start := func(text string) (*Installation, error) {
		i := d.process(true)
		i.cfg.Key, i.cfg.KeyFile = secret.New(text), ""
		known, err := i.Load(t.Context())
		if err == nil && !known {
			err = i.AutoInit(t.Context(), clock.System{}, d.token())
		}
		return i, err
	}
	for range 2 {
		i, err := start(text)
		if err != nil {
			t.Fatal(err)
		}
		d.sealed(i, false)
	}
	if i, err := start(base64.StdEncoding.EncodeToString(make([]byte, 32)) + "," + text); err == nil {
		d.sealed(i, false)
	} else {
		t.Errorf("with the next key in front: %v", err)
	}
	if _, err := start(strings.Replace(text, "M", "N", 1)); !errors.Is(err, errKeyFile) || strings.Contains(err.Error(), text[:8]) {
		t.Errorf("another key: %v", err)
	}
	if _, err := start("short"); !errors.Is(err, errKeyFile) || strings.Contains(err.Error(), "short") {
		t.Errorf("no key: %v", err)
	}
}

// An installation that was made before it could be sealed can be, after the next
// start; of several that start one brings it up to date.
func TestOlderInstallation(t *testing.T) {
	t.Parallel()
	d := newDisk(t)
	d.begun()
	e, err := d.fake.Entry(t.Context(), store.KindSystem, installationKey)
	if err != nil {
		t.Fatal(err)
	}
	open, err := d.fake.Entry(t.Context(), store.KindSystem, openKey)
	if err != nil {
		t.Fatal(err)
	}
	e.Value = []byte(strings.Replace(string(e.Value), `,"seal":true`, "", 1))
	if _, err := d.fake.Write(t.Context(), store.Write{Puts: []store.Entry{e}, Deletes: []store.Ref{{Kind: open.Kind, ID: open.ID}}}); err != nil {
		t.Fatal(err)
	}
	one, other := d.begun(), d.begun()
	d.sealed(one, false)
	if err := other.Shut(t.Context()); err != nil {
		t.Fatal(err)
	}
	d.sealed(d.begun(), true)
}
