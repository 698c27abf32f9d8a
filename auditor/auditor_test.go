package auditor_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/auditor"
	"github.com/curfew-project/curfew/auditor/internal/ledger"
	"github.com/curfew-project/curfew/shared/bus"
	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/publish"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/store/storetest"
)

// hang bounds what must happen some time; it decides nothing.
const hang = time.Minute

// opening keeps tests from opening ledgers at the same time: the library's log
// settings belong to the process.
var opening sync.Mutex

// world is a store and the directory of an auditor.
type world struct {
	t     *testing.T
	dir   string
	name  string
	fake  *storetest.Fake
	store *storetest.Faulty
	lock  store.Lock
	log   bytes.Buffer
	n     int64
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), name: "test"}
	w.empty()
	return w
}

// empty puts another store in the store's place.
func (w *world) empty() {
	w.t.Helper()
	w.fake, w.n = storetest.NewFake(clock.System{}), 0
	w.store = storetest.NewFaulty(w.fake)
	lock, ok, err := w.fake.Acquire(w.t.Context(), publish.LockName, "test", time.Hour)
	if err != nil || !ok {
		w.t.Fatalf("acquire: %t, %v", ok, err)
	}
	w.lock = lock
}

func (w *world) open() (*auditor.Auditor, error) {
	opening.Lock()
	defer opening.Unlock()
	return auditor.New(w.t.Context(), auditor.Deps{Stream: bus.Nop{}, Store: w.store, Clock: clock.System{}, Log: zerolog.New(zerolog.SyncWriter(&w.log))},
		auditor.Config{Dir: w.dir, Installation: w.name})
}

func (w *world) mustOpen() *auditor.Auditor {
	w.t.Helper()
	a, err := w.open()
	if err != nil {
		w.t.Fatal(err)
	}
	return a
}

// make commits and numbers n events.
func (w *world) make(n int) {
	w.t.Helper()
	for range n {
		w.n++
		if err := w.fake.Append(w.t.Context(), event.Event{Type: event.LeaseRevoked, Subject: fmt.Sprintf("lease/%d", w.n)}); err != nil {
			w.t.Fatal(err)
		}
	}
	if _, _, err := w.fake.Number(w.t.Context(), w.lock, n); err != nil {
		w.t.Fatal(err)
	}
}

// run runs an auditor; stop ends it and returns what Run said.
func (w *world) run(a *auditor.Auditor) (stop func() error) {
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	return func() error {
		cancel()
		return <-done
	}
}

// confirmed waits until the ledger has confirmed everything.
func (w *world) confirmed() {
	w.t.Helper()
	for deadline := time.Now().Add(hang); ; time.Sleep(10 * time.Millisecond) {
		p, err := w.fake.Confirmed(w.t.Context(), publish.Ledger)
		if err == nil && p.Number == w.n {
			return
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("confirmed is %s, %v; want number %d", p, err, w.n)
		}
	}
}

// subjects asks the API for what is on record.
func subjects(t *testing.T, a *auditor.Auditor, query string) (out []string) {
	t.Helper()
	w := httptest.NewRecorder()
	a.Handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/v1/audit/entries?"+query, nil))
	var answer struct {
		Data struct {
			Entries []struct{ Subject string } `json:"entries"`
		} `json:"data"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != http.StatusOK {
		t.Fatalf("entries: %d %s, %v", w.Code, w.Body, err)
	}
	for _, e := range answer.Data.Entries {
		out = append(out, e.Subject)
	}
	return out
}

// The whole way, a stop, and a start that goes on.
func TestRecordsAndGoesOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for range 3 {
		a := w.mustOpen()
		if got := subjects(t, a, ""); int64(len(got)) != w.n {
			t.Errorf("before it runs %d entries can be read, want %d", len(got), w.n)
		}
		stop := w.run(a)
		w.make(30)
		w.confirmed()
		if got := subjects(t, a, "lease=lease/7"); len(got) != 1 || got[0] != "lease/7" {
			t.Errorf("the search finds %q", got)
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
	}
	var out strings.Builder
	if err := auditor.Verify(t.Context(), w.dir, "", nil, &out); err != nil || !strings.Contains(out.String(), "epoch 1: 90 entries signed, 0 not yet signed") {
		t.Errorf("verify: %v\n%s", err, out.String())
	}
}

// D5: while one has the lock another fails, and leaves nothing behind.
func TestLocked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.mustOpen()
	for range 3 {
		if _, err := w.open(); !errors.Is(err, ledger.ErrLocked) {
			t.Fatalf("a second auditor: %v, want ErrLocked", err)
		}
	}
	for range 2 {
		if err := a.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.mustOpen().Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// What New opened before it failed is closed again.
func TestFailedNewReleases(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	path := filepath.Join(w.dir, "catalogue.db")
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := w.open(); err == nil {
		t.Fatal("a directory was taken for the catalogue")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := w.mustOpen().Close(t.Context()); err != nil {
		t.Error(err)
	}
	w.dir, w.name = t.TempDir(), "No Such"
	if _, err := w.open(); err == nil {
		t.Error("an installation's name that cannot be was accepted")
	}
}

// A lock file that was removed needs no restart: the ledger is opened anew,
// under a higher fence.
// Not parallel: the ledger is opened in the background; see opening.
func TestLockFileRemoved(t *testing.T) {
	w := newWorld(t)
	stop := w.run(w.mustOpen())
	w.make(10)
	w.confirmed()
	if err := os.Remove(filepath.Join(w.dir, "ledger", "lock")); err != nil {
		t.Fatal(err)
	}
	w.make(10)
	w.confirmed()
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := auditor.Verify(t.Context(), w.dir, "", nil, &out); err != nil || !regexp.MustCompile(`20 entries signed.*fence [2-9]`).MatchString(out.String()) {
		t.Errorf("verify: %v\n%s", err, out.String())
	}
}

// A stop while the store does not confirm gives the ledger up in any case.
func TestStopWithoutTheStore(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.store.Break(storetest.Fault{Method: "Confirm"})
	a := w.mustOpen()
	stop := w.run(a)
	w.make(10)
	for deadline := time.Now().Add(hang); len(subjects(t, a, "")) < 10; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("what cannot be confirmed is not appended")
		}
	}
	_ = stop() // it may have had nothing to confirm at this moment
	w.store.Break()
	stop = w.run(w.mustOpen())
	w.confirmed()
	if err := stop(); err != nil {
		t.Error(err)
	}
}

// A7: before anything runs, a store that lacks what is on record has got it back
// and is in another epoch.
func TestSettle(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.recorded(30)
	w.empty()
	w.make(20)
	w.fake.ServerStarted()
	a := w.mustOpen()
	a.Settle(t.Context())
	head, err := w.fake.Head(t.Context())
	if _, suspended, asked := w.fake.Suspension(t.Context()); err != nil || asked != nil || suspended || head.Epoch != 2 {
		t.Errorf("suspended: %t, %v; the head is %s, %v", suspended, asked, head, err)
	}
	a.Settle(t.Context()) // what is settled stays
	if again, err := w.fake.Head(t.Context()); err != nil || again != head {
		t.Errorf("the head is %s, %v; was %s", again, err, head)
	}
	stop := w.run(a)
	w.make(5)
	w.n = head.Number + 5 + 3 // suspended, doubted, resumed
	if _, _, err := w.fake.Number(t.Context(), w.lock, 100); err != nil {
		t.Fatal(err)
	}
	w.confirmed()
	if err := stop(); err != nil {
		t.Error(err)
	}
}

// What cannot be compared keeps nobody from starting, and is said.
func TestSettleWithoutTheStore(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.recorded(3)
	w.store.Break(storetest.Fault{Method: "Head"})
	a := w.mustOpen()
	a.Settle(t.Context())
	if !strings.Contains(w.log.String(), "not settled before the start") {
		t.Errorf("the log says %s", w.log.String())
	}
	if _, suspended, err := w.fake.Suspension(t.Context()); suspended || err != nil {
		t.Errorf("suspended: %t, %v", suspended, err)
	}
	if err := a.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// Streams end before a server would wait for them.
func TestDrain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.mustOpen()
	stop := w.run(a)
	server := httptest.NewServer(a.Handler())
	server.Config.RegisterOnShutdown(a.Drain)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/v1/audit/stream", nil)
	if err != nil {
		t.Fatal(err)
	}
	client := server.Client()
	answer, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	ctx, cancel := context.WithTimeout(t.Context(), hang)
	defer cancel()
	if err := server.Config.Shutdown(ctx); err != nil {
		t.Errorf("shutdown: %v", err)
	}
	client.CloseIdleConnections()
	if err := stop(); err != nil {
		t.Error(err)
	}
}

// recorded makes a ledger of n entries and returns its key.
func (w *world) recorded(n int) string {
	w.t.Helper()
	a := w.mustOpen()
	stop := w.run(a)
	w.make(n)
	w.confirmed()
	if err := stop(); err != nil {
		w.t.Fatal(err)
	}
	key, err := os.ReadFile(filepath.Join(w.dir, "ledger", "checkpoint.pub"))
	if err != nil {
		w.t.Fatal(err)
	}
	return string(key)
}

// Verify names the place of one flipped byte.
func TestVerifyNamesTheFlippedByte(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	key := w.recorded(300)
	var paths []string
	root := filepath.Join(w.dir, "ledger", "epoch-0001", "tile", "entries")
	if err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			paths = append(paths, path)
		}
		return err
	}); err != nil || len(paths) == 0 {
		t.Fatalf("%v, %v", paths, err)
	}
	found := 0
	for _, subject := range []string{"lease/1\"", "lease/123\"", "lease/300\""} {
		for _, path := range paths {
			raw, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			at := bytes.Index(raw, []byte(subject))
			if at < 0 {
				continue
			}
			found++
			flipped := bytes.Clone(raw)
			flipped[at] ^= 1
			if err := os.WriteFile(path, flipped, 0o600); err != nil {
				t.Fatal(err)
			}
			var out strings.Builder
			err = auditor.Verify(t.Context(), w.dir, key, nil, &out)
			if want := "entry " + strings.TrimSuffix(strings.TrimPrefix(subject, "lease/"), `"`) + ")"; !errors.Is(err, auditor.ErrDamaged) || !strings.Contains(out.String(), want) ||
				strings.Contains(out.String(), "is what was signed") {
				t.Errorf("verify: %v\n%swant %q", err, out.String(), want)
			}
			if err := os.WriteFile(path, raw, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	if found < 3 {
		t.Errorf("%d of 3 entries were found in the files", found)
	}
	if err := auditor.Verify(t.Context(), w.dir, key, nil, &strings.Builder{}); err != nil {
		t.Errorf("verify what was put right: %v", err)
	}
}

// The key and checkpoints that an outsider kept decide.
func TestVerifyFromOutside(t *testing.T) {
	t.Parallel()
	w, other := newWorld(t), newWorld(t)
	key := w.recorded(10)
	otherKey := other.recorded(10)
	note, err := os.ReadFile(filepath.Join(w.dir, "ledger", "epoch-0001", "checkpoint"))
	if err != nil {
		t.Fatal(err)
	}
	w.recorded(20)
	for name, c := range map[string]struct {
		dir, key string
		earlier  [][]byte
		fails    bool
	}{
		"all":               {w.dir, key, [][]byte{note}, false},
		"own key":           {w.dir, "", nil, false},
		"another's key":     {w.dir, otherKey, nil, true},
		"no key":            {w.dir, "nonsense", nil, true},
		"forged checkpoint": {w.dir, key, [][]byte{[]byte("nonsense")}, true},
		"another's ledger":  {other.dir, key, [][]byte{note}, true},
		"no ledger":         {t.TempDir(), "", nil, true},
	} {
		var out strings.Builder
		if err := auditor.Verify(t.Context(), c.dir, c.key, c.earlier, &out); (err != nil) != c.fails {
			t.Errorf("%s: %v\n%s", name, err, out.String())
		}
	}
}
