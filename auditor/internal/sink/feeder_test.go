package sink

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	"pgregory.net/rapid"

	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/device"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/step"
	"github.com/curfew-project/curfew/shared/store/storetest"
)

var errBroken = errors.New("broken on purpose")

// way is how a call fails.
type way string

const (
	works  way = ""
	undone way = "not done"
	half   way = "done in part"
	unsaid way = "done, and reported as failed"
)

// disk is where the outlets of a test are: real files, whose calls fail as
// planned.
type disk struct {
	places Places
	mu     sync.Mutex
	fail   map[string]way // of the next call of a method
	always map[string]way
	last   *shaky
}

func newDisk(dir string) *disk {
	return &disk{places: Places{Below: []string{dir}}, fail: map[string]way{}, always: map[string]way{}}
}

func (d *disk) next(method string) way {
	d.mu.Lock()
	defer d.mu.Unlock()
	if w, ok := d.always[method]; ok {
		return w
	}
	w := d.fail[method]
	delete(d.fail, method)
	return w
}

func (d *disk) set(method string, w way) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if w == works {
		delete(d.always, method)
		return
	}
	d.always[method] = w
}

func (d *disk) open(o device.Options) (outlet, error) {
	w := d.next("open")
	if w == undone {
		return nil, errBroken
	}
	out, err := d.places.open(o)
	if err != nil {
		return nil, err
	}
	if w != works {
		return nil, errors.Join(errBroken, out.Close())
	}
	f, ok := out.(*file)
	if !ok {
		return nil, errors.New("not a file")
	}
	info, err := f.f.Stat()
	if err != nil {
		return nil, err
	}
	d.last = &shaky{file: f, disk: d, synced: info.Size()}
	return d.last, nil
}

// shaky is a file whose calls fail as its disk says.
type shaky struct {
	*file
	disk   *disk
	synced int64 // what a crash leaves
}

func (s *shaky) Write(b []byte) (int, error) {
	switch s.disk.next("write") {
	case undone:
		return 0, errBroken
	case half:
		n, err := s.file.Write(b[:len(b)*2/3])
		return n, errors.Join(err, errBroken)
	case unsaid:
		_, err := s.file.Write(b)
		return 0, errors.Join(err, errBroken)
	case works:
	}
	return s.file.Write(b)
}

func (s *shaky) Sync() error {
	w := s.disk.next("sync")
	if w == undone {
		return errBroken
	}
	info, err := s.f.Stat()
	if err != nil {
		return err
	}
	s.synced = info.Size()
	if w != works {
		return errBroken
	}
	return nil
}

func (s *shaky) Look() (whereabouts, error) {
	if s.disk.next("look") != works {
		return 0, errBroken
	}
	return s.file.Look()
}

func (s *shaky) Close() error {
	err := s.file.Close()
	if s.disk.next("close") != works {
		err = errors.Join(err, errBroken)
	}
	return err
}

// device in a test of its feeder.
type rig struct {
	path  string
	book  *book
	disk  *disk
	store *storetest.Faulty
	clock *storetest.Clock
	f     *feeder
}

const rigID = "device-1"

// restart is another process, which knows what the store knows.
func (r *rig) restart(t interface{ Fatal(...any) }) {
	at, err := r.store.Confirmed(context.Background(), device.Consumer(rigID))
	if err != nil {
		t.Fatal(err)
	}
	r.f = &feeder{
		id: rigID, key: "file/", options: options(r.path), scribe: *testScribe(false), ledger: r.book, store: r.store, open: r.disk.open,
		clock: r.clock, log: zerolog.Nop(), wake: step.NewSignal(), at: at, kept: at, confirmed: at, done: make(chan struct{}),
	}
}

// Law: whatever fails, in each way in which a call can fail, and wherever the
// process is killed or its machine loses power: every event is in the files, in
// order from its first line on, every line is whole, and the position never is
// ahead of what is durable. Excepted is what a person deletes after it was seen
// to be in place.
func TestNothingIsLost(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	run := 0
	rapid.Check(t, func(rt *rapid.T) {
		run++
		r := newRig(rt, filepath.Join(base, fmt.Sprint(run)))
		defer func() {
			if r.f.out != nil {
				_ = r.f.out.Close()
			}
		}()
		rotated, epoch := 0, int64(1)
		var excused event.Position
		for range rapid.IntRange(1, 30).Draw(rt, "steps") {
			switch rapid.SampledFrom([]string{"grow", "grow", "feed", "feed", "feed", "break", "store", "wait", "rotate", "delete", "hangup", "crash"}).Draw(rt, "act") {
			case "grow":
				epoch += int64(rapid.IntRange(0, 5).Draw(rt, "epoch") / 5) // an earlier one grows no more
				r.book.grow(epoch, rapid.IntRange(1, 4).Draw(rt, "events"))
			case "feed":
				r.feed(rt)
			case "break":
				method := rapid.SampledFrom([]string{"open", "write", "sync", "look", "close"}).Draw(rt, "method")
				r.disk.fail[method] = rapid.SampledFrom([]way{undone, half, unsaid}).Draw(rt, "way")
			case "store":
				r.store.Break(storetest.Fault{Method: "Confirm", Nth: 1, Done: rapid.Bool().Draw(rt, "done")})
			case "wait":
				r.clock.Advance(settleEvery)
			case "rotate":
				rotated++
				_ = os.Rename(r.path, fmt.Sprintf("%s.%03d", r.path, rotated))
			case "delete":
				if os.Remove(r.path) == nil && excused.Before(r.f.kept) {
					excused = r.f.kept
				}
			case "hangup":
				r.f.reopen.Add(1)
			case "crash":
				r.crash(rt)
			}
			confirmed, err := r.store.Confirmed(context.Background(), device.Consumer(rigID))
			if err != nil || r.f.kept.Before(confirmed) {
				rt.Fatalf("the position is %s, %v; what is kept is %s", confirmed, err, r.f.kept)
			}
		}
		r.disk.fail, r.disk.always = map[string]way{}, map[string]way{}
		r.store.Break()
		for range 3 { // one may find the file gone
			r.clock.Advance(settleEvery)
			r.feed(rt)
		}
		r.check(t, rt, excused)
	})
}

func newRig(rt *rapid.T, dir string) *rig {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		rt.Fatal(err)
	}
	c := storetest.NewClock()
	r := &rig{path: filepath.Join(dir, "audit.log"), book: newBook(), disk: newDisk(dir), clock: c, store: storetest.NewFaulty(positions{storetest.NewFake(c), map[string]event.Position{}})}
	r.book.grow(1, 1)
	r.restart(rt)
	return r
}

// positions is a store without events, which would be ahead of none.
type positions struct {
	*storetest.Fake
	of map[string]event.Position
}

func (p positions) Confirm(_ context.Context, consumer string, upTo event.Position) error {
	if p.of[consumer].Before(upTo) {
		p.of[consumer] = upTo
	}
	return nil
}

func (p positions) Confirmed(_ context.Context, consumer string) (event.Position, error) {
	return p.of[consumer], nil
}

func (r *rig) feed(rt *rapid.T) {
	if err := r.f.feed(context.Background()); err != nil && !errors.Is(err, errBroken) && !errors.Is(err, storetest.ErrInjected) && !errors.Is(err, errDeleted) {
		rt.Fatalf("feed: %v", err)
	}
}

// crash ends the process, and takes a part of what was not made durable.
func (r *rig) crash(rt *rapid.T) {
	if s, ok := r.f.out.(*shaky); ok {
		info, err := s.f.Stat()
		if err != nil {
			rt.Fatal(err)
		}
		if s.synced < info.Size() {
			if err := s.f.Truncate(rapid.Int64Range(s.synced, info.Size()).Draw(rt, "left")); err != nil {
				rt.Fatal(err)
			}
		}
		if err := s.file.Close(); err != nil {
			rt.Fatal(err)
		}
	}
	r.restart(rt)
}

func (r *rig) check(t *testing.T, rt *rapid.T, excused event.Position) {
	t.Helper()
	all, text := written(t, files(t, r.path)...)
	seen := map[event.Position]bool{}
	var last event.Position
	for _, p := range all {
		// What a person deleted before the store had heard of it comes once more.
		if !seen[p] && p.Before(last) && excused.Before(p) {
			rt.Fatalf("%s comes first after %s:\n%s", p, last, text)
		}
		seen[p] = true
		if last.Before(p) {
			last = p
		}
	}
	for epoch, lines := range r.book.segments {
		for n := range lines {
			p := event.Position{Epoch: epoch, Number: int64(n + 1)}
			if !seen[p] && excused.Before(p) {
				rt.Fatalf("event %s is in no file; the position is %s", p, r.f.confirmed)
			}
		}
	}
	if trouble, _ := r.f.state(); r.f.confirmed != r.f.at || trouble != "" {
		rt.Fatalf("written %s, confirmed %s, trouble %q", r.f.at, r.f.confirmed, trouble)
	}
}

// hanging is a disk that does not answer.
type hanging struct{ release chan struct{} }

func (h *hanging) Write(b []byte) (int, error) { <-h.release; return len(b), nil }
func (h *hanging) Sync() error                 { return nil }
func (h *hanging) Look() (whereabouts, error)  { return inPlace, nil }
func (h *hanging) Close() error                { return nil }

// A disk that hangs is shown, holds nobody up, and a stop leaves it behind.
func TestHangingDisk(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := &hanging{release: make(chan struct{})}
		b := newBook()
		b.grow(1, 3)
		f := &feeder{
			id: rigID, key: "file/", scribe: *testScribe(false), ledger: b, store: storetest.NewFake(clock.System{}),
			open: func(device.Options) (outlet, error) { return h, nil }, clock: clock.System{}, log: zerolog.Nop(), wake: step.NewSignal(),
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { f.run(ctx); close(done) }()
		time.Sleep(hungAfter)
		synctest.Wait()
		if trouble, _ := f.state(); trouble != "" {
			t.Errorf("after %s it says %q", hungAfter, trouble)
		}
		time.Sleep(time.Second)
		if trouble, at := f.state(); trouble != errHung.Error() || at.Number != 0 {
			t.Errorf("it says %q at %s", trouble, at)
		}
		began := time.Now()
		cancel()
		<-done
		if took := time.Since(began); took > 2*leaveAfter {
			t.Errorf("it stopped after %s", took)
		}
		if f.confirmed.Number != 0 {
			t.Errorf("confirmed %s of a write that did not return", f.confirmed)
		}
		close(h.release)
	})
}

// A file that is opened too late is closed: its lock would keep everybody out.
func TestOpenedTooLate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := Places{Below: []string{dir}}
	late := later{open: p.open}
	late.abandon()
	must(t, late.do(options("a")))
	out, err := p.open(options("a"))
	must(t, err)
	must(t, out.Close())
	soon := later{open: p.open}
	must(t, soon.do(options("a")))
	soon.abandon()
	out, err = p.open(options("a"))
	must(t, err)
	must(t, out.Close())
}

// What the ledger lost cannot be followed; it is said, and nothing is written.
func TestReplacedLedger(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b := newBook()
	b.grow(1, 2)
	at := event.Position{Epoch: 1, Number: 5}
	f := &feeder{
		id: rigID, options: options("a"), scribe: *testScribe(false), ledger: b, store: storetest.NewFake(clock.System{}),
		open: Places{Below: []string{dir}}.open, clock: clock.System{}, log: zerolog.Nop(), at: at, kept: at, confirmed: at,
	}
	err := f.feed(t.Context())
	if err == nil {
		t.Fatal("it was followed")
	}
	contains(t, "the error", err.Error(), "the ledger ends before event 1-5")
	must(t, f.out.Close())
	if all, _ := written(t, filepath.Join(dir, "a")); len(all) > 0 {
		t.Errorf("%d events were written", len(all))
	}
}

// How fast a device catches up: lines are made, written and made durable.
func BenchmarkCatchUp(b *testing.B) {
	ledger := newBook()
	ledger.grow(1, b.N)
	f := &feeder{
		id: rigID, options: options("audit.log"), scribe: *testScribe(false), ledger: ledger, store: positions{of: map[string]event.Position{}},
		open: Places{Below: []string{b.TempDir()}}.open, clock: clock.System{}, log: zerolog.Nop(),
	}
	b.ResetTimer()
	if err := f.feed(b.Context()); err != nil {
		b.Fatal(err)
	}
	if err := f.settle(b.Context()); err != nil || f.confirmed.Number != int64(b.N) {
		b.Fatalf("confirmed %s, %v", f.confirmed, err)
	}
	b.StopTimer()
	_ = f.out.Close()
}
