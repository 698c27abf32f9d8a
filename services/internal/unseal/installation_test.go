package unseal

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/issuer"
	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/seal"
	"github.com/curfew-project/curfew/shared/secret"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/store/storetest"
)

// disk is what outlives a process: the store, the files, the root tokens made.
type disk struct {
	*testing.T
	fake  *storetest.Fake
	store *storetest.Faulty
	dir   string
	rootE error // of making a root token

	mu    sync.Mutex
	roots map[string]int
}

func newDisk(t *testing.T) *disk {
	t.Helper()
	d := &disk{T: t, fake: storetest.NewFake(storetest.NewClock()), dir: t.TempDir(), roots: map[string]int{}}
	d.store = storetest.NewFaulty(d.fake)
	return d
}

func (d *disk) key() string   { return filepath.Join(d.dir, "seal.key") }
func (d *disk) token() string { return filepath.Join(d.dir, "root-token") }

// process is a new one on the disk.
func (d *disk) process(auto bool) *Installation {
	i := New(d.store, Config{KeyFile: d.key(), Auto: auto, StorageType: "test"})
	i.root = func(ctx context.Context, text secret.Value) error {
		if _, suspended, err := d.fake.Suspension(ctx); suspended || err != nil {
			return errors.Join(err, store.ErrSuspended) // as the store does
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.rootE == nil {
			d.roots[text.Reveal()]++
		}
		return d.rootE
	}
	return i
}

// start is what a process does first.
func (d *disk) start() (*Installation, error) {
	i := d.process(true)
	known, err := i.Load(d.Context())
	if err == nil && !known {
		err = i.AutoInit(d.Context(), clock.System{}, d.token())
	}
	return i, err
}

// The first start waits for another one that is under way, also for one that was
// killed in it.
func TestFirstStartWaits(t *testing.T) {
	t.Parallel()
	d := newDisk(t)
	l, ok, err := d.store.Acquire(t.Context(), lockName, "another", time.Hour)
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	i := d.process(true)
	if _, err := i.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := i.AutoInit(short, clock.System{}, d.token()); !errors.Is(err, errBusy) {
		t.Errorf("behind another that is at it: %v, want %v", err, errBusy)
	}
	done := make(chan error, 1)
	go func() { done <- i.AutoInit(t.Context(), clock.System{}, d.token()) }()
	if err := d.store.Release(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Errorf("after it: %v", err)
	}
	d.whole(i)
}

// whole checks an installation that was initialised: one root token, the one in
// the file; sealed values open in the next process.
func (d *disk) whole(i *Installation) {
	d.Helper()
	status, err := i.Status(d.Context())
	if err != nil || !status.Initialized || status.Sealed || status.ClusterID == "" {
		d.Errorf("status %+v, %v", status, err)
	}
	text, err := os.ReadFile(d.token())
	if err != nil {
		d.Fatal(err)
	}
	if token := strings.TrimSpace(string(text)); len(d.roots) != 1 || d.roots[token] == 0 || len(token) != len(tokenPrefix)+tokenLen {
		d.Errorf("%d root tokens were made; the file's among them: %t", len(d.roots), d.roots[token] != 0)
	}
	for _, path := range []string{d.token(), d.key()} {
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != 0o600 {
			d.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
	sealed, err := i.Seal([]byte("value"), "about")
	if err != nil {
		d.Fatal(err)
	}
	next, err := d.start()
	if err != nil {
		d.Fatalf("next start: %v", err)
	}
	if text, err := next.Open(sealed, "about"); err != nil || !bytes.Equal(text, []byte("value")) || next.id != i.id {
		d.Errorf("the next process opens %q, %v; id %q, was %q", text, err, next.id, i.id)
	}
	left, err := filepath.Glob(filepath.Join(d.dir, ".*"))
	if err != nil || len(left) != 0 {
		d.Errorf("files left: %v, %v", left, err)
	}
}

// A first start that is cut off after any of its steps is repeated by the next,
// with the same root token.
func TestInitialisationIsRepeated(t *testing.T) {
	t.Parallel()
	for name, cut := range map[string]func(d *disk){
		"nothing done":            func(*disk) {},
		"key file":                func(d *disk) { _, _ = seal.LoadOrCreate(d.key()) },
		"root token file":         func(d *disk) { _ = WritePrivate(d.token(), []byte(NewToken().Reveal()+"\n")) },
		"root token not made":     func(d *disk) { d.rootE = errors.New("cut off"); d.cut() },
		"entry not committed":     func(d *disk) { d.store.Break(storetest.Fault{Method: "Write"}); d.cut() },
		"commit without answer":   func(d *disk) { d.store.Break(storetest.Fault{Method: "Write", Done: true}); d.cut() },
		"entry cannot be read":    func(d *disk) { d.store.Break(storetest.Fault{Method: "Entry"}); d.cut() },
		"store's server started":  func(d *disk) { d.fake.ServerStarted() },
		"not compared":            func(d *disk) { d.fake.ServerStarted(); d.store.Break(storetest.Fault{Method: "Compared"}); d.cut() },
		"half of the token, temp": func(d *disk) { d.half(".root-token-123") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDisk(t)
			cut(d)
			d.store.Break()
			d.rootE = nil
			i, err := d.start()
			if err != nil {
				t.Fatal(err)
			}
			_ = os.Remove(filepath.Join(d.dir, ".root-token-123"))
			d.whole(i)
		})
	}
}

// cut is a start that fails.
func (d *disk) cut() {
	d.Helper()
	if _, err := d.start(); err == nil {
		d.Fatal("the start was not cut off")
	}
}

func (d *disk) half(name string) {
	d.Helper()
	if err := os.WriteFile(filepath.Join(d.dir, name), []byte("hvs.a"), 0o600); err != nil {
		d.Fatal(err)
	}
}

// A file that holds no token must not make one that can be guessed.
func TestNoWeakRootToken(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "\n", "hvs.", "hvs.short", strings.Repeat("x", 64)} {
		d := newDisk(t)
		if err := os.WriteFile(d.token(), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := d.start(); err == nil || !strings.Contains(err.Error(), "remove the file") || len(d.roots) != 0 {
			t.Errorf("a token file of %q: %v, %d tokens made", text, err, len(d.roots))
		}
	}
}

// A key file that is not the installation's ends the start; nothing is made
// anew over it.
func TestKeyFileIsNotTheInstallations(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spoil func(d *disk) error
		want  string
	}{
		"missing": {func(d *disk) error { return os.Remove(d.key()) }, "no such file"},
		"another": {func(d *disk) error {
			err := os.Remove(d.key())
			_, made := seal.LoadOrCreate(d.key())
			return errors.Join(err, made)
		}, "does not belong"},
		"read by others": {func(d *disk) error { return os.Chmod(d.key(), 0o644) }, "chmod 600"},
		"empty":          {func(d *disk) error { return os.Truncate(d.key(), 0) }, "holds no key"},
		"not a key":      {func(d *disk) error { return os.WriteFile(d.key(), []byte("hunter2"), 0o600) }, "line 1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDisk(t)
			if _, err := d.start(); err != nil {
				t.Fatal(err)
			}
			if err := c.spoil(d); err != nil {
				t.Fatal(err)
			}
			before, _ := os.ReadFile(d.key())
			_, err := d.start()
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), d.key()) {
				t.Errorf("start: %v; want %q and the file's name", err, c.want)
			}
			if err != nil && strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error tells the file's content: %v", err)
			}
			if after, _ := os.ReadFile(d.key()); !bytes.Equal(before, after) {
				t.Error("the key file was changed")
			}
			if len(d.roots) != 1 {
				t.Errorf("%d root tokens were made", len(d.roots))
			}
		})
	}
}

// Of several processes that initialise, one does; the others find it done.
func TestOneProcessInitialises(t *testing.T) {
	t.Parallel()
	d := newDisk(t)
	var wg sync.WaitGroup
	var won atomic.Int64
	for range 8 {
		i := d.process(false)
		wg.Go(func() {
			_, err := i.Initialize(d.Context(), issuer.InitRequest{})
			if err == nil {
				won.Add(1)
			}
			if err := i.Await(d.Context(), clock.System{}, zerolog.Nop()); err != nil || i.ID() == "" {
				t.Errorf("wait for the installation: %v, id %q", err, i.ID())
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 || len(d.roots) != 1 {
		t.Errorf("%d initialised, %d root tokens were made", won.Load(), len(d.roots))
	}
}

// Who waits learns of a key file that does not fit, at once.
func TestAwaitWithAnotherKey(t *testing.T) {
	t.Parallel()
	d := newDisk(t)
	if _, err := d.start(); err != nil {
		t.Fatal(err)
	}
	other := New(d.store, Config{KeyFile: filepath.Join(t.TempDir(), "seal.key")})
	if _, err := seal.LoadOrCreate(other.cfg.KeyFile); err != nil {
		t.Fatal(err)
	}
	if err := other.Await(t.Context(), clock.System{}, zerolog.Nop()); !errors.Is(err, errKeyFile) {
		t.Errorf("got %v", err)
	}
}

// Of several that initialise over the API, one gets a root token, and no other
// is made.
func TestOneInitialises(t *testing.T) {
	t.Parallel()
	d := newDisk(t)
	i := d.process(false)
	if _, err := i.Seal(nil, ""); !errors.Is(err, errSealed) {
		t.Errorf("sealing before: %v", err)
	}
	var wg sync.WaitGroup
	results := make(chan error, 8)
	for range cap(results) {
		wg.Go(func() {
			got, err := i.Initialize(d.Context(), issuer.InitRequest{})
			if err == nil && d.roots[got.RootToken.Reveal()] != 1 {
				t.Error("the answer's root token was not made")
			}
			results <- err
		})
	}
	wg.Wait()
	close(results)
	won := 0
	for err := range results {
		switch {
		case err == nil:
			won++
		case !errors.Is(err, issuer.ErrInitialized):
			t.Errorf("who came later got %v", err)
		}
	}
	if won != 1 || len(d.roots) != 1 {
		t.Errorf("%d initialised, %d root tokens were made", won, len(d.roots))
	}
	if _, err := d.process(true).Initialize(d.Context(), issuer.InitRequest{}); !errors.Is(err, issuer.ErrNotAllowed) {
		t.Errorf("with auto_init: %v", err)
	}
	if _, err := d.fake.Entry(t.Context(), store.KindSystem, installationKey); err != nil {
		t.Error(err)
	}
}
