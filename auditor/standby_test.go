package auditor_test

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/auditor"
	"github.com/curfew-project/curfew/auditor/internal/ledger"
	"github.com/curfew-project/curfew/shared/bus"
	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/publish"
	"github.com/curfew-project/curfew/shared/store/storetest"
)

// shared is a world whose store's clock stands still: a lock lapses where the
// test says so, and what happens without that does not wait for it.
type shared struct {
	*world
	clock *storetest.Clock
	out   zerolog.Logger               // of all
	links map[string]*storetest.Faulty // by auditor
}

func newShared(t *testing.T) *shared {
	t.Helper()
	s := &shared{world: newWorld(t), clock: storetest.NewClock(), links: map[string]*storetest.Faulty{}}
	s.out = zerolog.New(zerolog.SyncWriter(&s.log))
	s.replace()
	return s
}

// replace puts another store in the store's place.
func (s *shared) replace() {
	s.t.Helper()
	s.fake, s.n = storetest.NewFake(s.clock), 0
	lock, ok, err := s.fake.Acquire(s.t.Context(), publish.LockName, "test", time.Hour)
	if err != nil || !ok {
		s.t.Fatalf("acquire: %t, %v", ok, err)
	}
	s.lock = lock
}

// start runs an auditor of the shared ledger.
func (s *shared) start(name string) (a *auditor.Auditor, stop func() error) {
	s.t.Helper()
	s.links[name] = storetest.NewFaulty(s.fake)
	opening.Lock()
	defer opening.Unlock()
	a, err := auditor.New(s.t.Context(), auditor.Deps{
		Stream: bus.Nop{}, Store: s.links[name], Locks: s.links[name], Clock: clock.System{}, Log: s.out,
	}, auditor.Config{Dir: filepath.Join(s.dir, name), LedgerDir: filepath.Join(s.dir, "ledger"), Installation: s.name, Name: name})
	if err != nil {
		s.t.Fatal(err)
	}
	return a, s.run(a)
}

// eventually waits until something holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(hang); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

// fence is that of the ledger's last checkpoint.
func (s *shared) fence() uint64 {
	s.t.Helper()
	r := ledger.NewReader(filepath.Join(s.dir, "ledger"))
	key, err := r.PublicKey()
	if err != nil {
		s.t.Fatal(err)
	}
	raw, err := r.Checkpoint(1)
	if err != nil {
		s.t.Fatal(err)
	}
	cp, err := ledger.ParseCheckpoint(key, raw)
	if err != nil {
		s.t.Fatal(err)
	}
	return cp.Fence
}

// follow reads the stream of an auditor: the subjects in order.
func follow(t *testing.T, a *auditor.Auditor) <-chan string {
	t.Helper()
	server := httptest.NewServer(a.Handler())
	ctx, cancel := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/v1/audit/stream?after=0", nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := server.Client().Do(r) //nolint:bodyclose // the clean-up does
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan string, 1000)
	go func() {
		defer close(got)
		for lines := bufio.NewScanner(answer.Body); lines.Scan(); {
			var e struct{ Subject string }
			if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok && json.Unmarshal([]byte(data), &e) == nil {
				got <- e.Subject
			}
		}
	}()
	t.Cleanup(func() {
		cancel()
		_ = answer.Body.Close()
		for range got { // ends with the connection
		}
		server.Close()
	})
	return got
}

// D5: one appends, another serves readers what it appends, streams included, and
// takes over at once when it has ended: no lock lapses in between. The streams
// of the one that stood by go on. Begun before there is any ledger.
// Not parallel: the ledger is opened in the background; see opening.
func TestStandsBy(t *testing.T) {
	s := newShared(t)
	first, stopFirst := s.start("first")
	second, stopSecond := s.start("second")
	for path, want := range map[string]int{"entries": http.StatusOK, "checkpoint": http.StatusNotFound, "key": http.StatusNotFound} {
		w := httptest.NewRecorder()
		second.Handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/v1/audit/"+path, nil))
		if w.Code != want && w.Code != http.StatusOK { // it may be there by now
			t.Errorf("%s before there is a ledger: %d %s", path, w.Code, w.Body)
		}
	}
	if first.Appends() && second.Appends() {
		t.Fatal("both append")
	}
	eventually(t, "one appends", func() bool { return first.Appends() || second.Appends() })
	if second.Appends() { // whoever was quicker
		first, second, stopFirst, stopSecond = second, first, stopSecond, stopFirst
	}
	stream := follow(t, second)
	s.make(20)
	s.confirmed()
	before := s.fence()
	eventually(t, "the other shows it", func() bool { return len(subjects(t, second, "")) == 20 })
	if err := stopFirst(); err != nil {
		t.Fatal(err)
	}
	if first.Appends() {
		t.Error("it appends after its end")
	}
	s.make(20)
	s.confirmed()
	eventually(t, "a checkpoint of the other", func() bool { return s.fence() > before })
	for _, want := range numbered(40) {
		select {
		case got := <-stream:
			if got != want {
				t.Fatalf("the stream goes on with %q, want %q", got, want)
			}
		case <-time.After(hang):
			t.Fatalf("the stream does not give %q", want)
		}
	}
	if err := stopSecond(); err != nil {
		t.Error(err)
	}
	s.sound(40)
}

func numbered(n int) (out []string) {
	for i := range n {
		out = append(out, "lease/"+strconv.Itoa(i+1))
	}
	return out
}

// A leader that has died is missed for the time of its lock. Its own ledger lock
// ends with it.
// Not parallel: see opening.
func TestTakesOverAfterACrash(t *testing.T) {
	s := newShared(t)
	_, stopFirst := s.start("first")
	s.make(5)
	s.confirmed()
	second, stopSecond := s.start("second")
	eventually(t, "it tries", func() bool { return s.links["second"].Calls("Acquire") > 1 })
	s.links["first"].Break(storetest.Fault{Method: "Release"}) // the lock stays, as after a kill
	if err := stopFirst(); err == nil {
		t.Error("the lock was given up")
	}
	tried := s.links["second"].Calls("Acquire")
	eventually(t, "it tries again", func() bool { return s.links["second"].Calls("Acquire") > tried+1 })
	if second.Appends() {
		t.Fatal("it leads before the lock has lapsed")
	}
	s.clock.Advance(10 * time.Second)
	s.make(5)
	s.confirmed()
	if err := stopSecond(); err != nil {
		t.Error(err)
	}
	s.sound(10)
}

// Where the store gives the lock away too early, because its clock jumped, the
// ledger still has one appender: the other waits until the first has noticed.
// Not parallel: see opening.
func TestStoreClockJumps(t *testing.T) {
	s := newShared(t)
	first, stopFirst := s.start("first")
	s.make(5)
	s.confirmed()
	second, stopSecond := s.start("second")
	for range 3 {
		s.clock.Advance(time.Minute)
		s.make(5)
		s.confirmed()
	}
	eventually(t, "one of them has the lock", func() bool { return first.Appends() != second.Appends() })
	for _, stop := range []func() error{stopFirst, stopSecond} {
		if err := stop(); err != nil {
			t.Error(err)
		}
	}
	s.sound(20)
}

// One that is closed without having run leaves the ledger and the lock to others.
// Not parallel: see opening.
func TestClosedWithoutRunning(t *testing.T) {
	s := newShared(t)
	idle, stop := s.start("idle")
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if err := idle.Close(t.Context()); err != nil { // it may be called again
		t.Error(err)
	}
	if _, ok, err := s.fake.Acquire(t.Context(), "auditor", "another", time.Hour); err != nil || !ok {
		t.Errorf("the lock is kept: %t, %v", ok, err)
	}
}

// A7: the elected one recovers the store; Settle leaves it to that.
// Not parallel: see opening.
func TestOnlyTheElectedRecovers(t *testing.T) {
	s := newShared(t)
	_, stopFirst := s.start("first")
	s.make(30)
	s.confirmed()
	if err := stopFirst(); err != nil {
		t.Fatal(err)
	}
	// An older copy takes the store's place; somebody else has the lock.
	s.replace()
	s.make(20)
	other, ok, err := s.fake.Acquire(t.Context(), "auditor", "other", time.Hour)
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	second, stopSecond := s.start("second")
	second.Settle(t.Context())
	eventually(t, "it tries", func() bool { return s.links["second"].Calls("Acquire") > 2 })
	if _, suspended, err := s.fake.Suspension(t.Context()); suspended || err != nil || s.links["second"].Calls("Suspend") > 0 {
		t.Fatalf("one that stands by has suspended the store: %t, %v", suspended, err)
	}
	if err := s.fake.Release(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the store is in another epoch", func() bool {
		head, err := s.fake.Head(t.Context())
		return err == nil && head.Epoch == 2
	})
	if err := stopSecond(); err != nil {
		t.Error(err)
	}
}

// sound: the ledger has n entries, dense, each once, and verifies.
func (s *shared) sound(n int) {
	s.t.Helper()
	dir := filepath.Join(s.dir, "ledger")
	at := 0
	for e, err := range ledger.NewReader(dir).Entries(s.t.Context(), 1, 1, 1<<40) {
		var got event.Event
		if err == nil {
			err = json.Unmarshal(e.Data, &got)
		}
		if at++; err != nil || got.Position.Number != int64(at) || got.Subject != "lease/"+strconv.Itoa(at) {
			s.t.Fatalf("entry %d is %s, %v", at, e.Data, err)
		}
	}
	if at != n {
		s.t.Errorf("%d entries, want %d", at, n)
	}
	var out strings.Builder
	if err := auditor.Verify(s.t.Context(), dir, "", nil, &out); err != nil {
		s.t.Errorf("verify: %v\n%s", err, out.String())
	}
}
