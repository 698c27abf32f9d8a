package sink

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/device"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/publish"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/store/storetest"
)

// bench is a table with a store and a ledger of its events.
type bench struct {
	t     *testing.T
	dir   string
	book  *book
	fake  *storetest.Fake
	store *storetest.Faulty
	lock  store.Lock
	disk  *disk
	log   bytes.Buffer
	out   zerolog.Logger
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{t: t, dir: t.TempDir(), book: newBook(), fake: storetest.NewFake(clock.System{})}
	b.store, b.disk = storetest.NewFaulty(b.fake), newDisk(b.dir)
	b.out = zerolog.New(zerolog.SyncWriter(&b.log))
	lock, ok, err := b.fake.Acquire(t.Context(), publish.LockName, "test", time.Hour)
	if err != nil || !ok {
		t.Fatalf("acquire: %t, %v", ok, err)
	}
	b.lock = lock
	return b
}

// seal is none.
type plainSeal struct{}

func (plainSeal) Open(ciphertext []byte, about string) ([]byte, error) {
	key, ok := bytes.CutPrefix(ciphertext, []byte(about))
	if !ok {
		return nil, errors.New("sealed for something else")
	}
	return key, nil
}

// run runs a table; stop ends it.
func (b *bench) run() (t *Table, stop func()) {
	b.t.Helper()
	t = New(b.book, b.store, plainSeal{}, clock.System{}, b.out, Places{})
	t.open, t.reportEvery, t.reportAfter = b.disk.open, 10*time.Millisecond, 10*time.Millisecond
	ctx, cancel := context.WithCancel(b.t.Context())
	done := make(chan struct{})
	go func() { _, _ = t.Do(ctx); close(done) }()
	var stopped bool
	stop = func() {
		if !stopped {
			stopped = true
			cancel()
			<-done
		}
	}
	b.t.Cleanup(stop)
	return t, stop
}

// enable commits the entry of a new device, as an issuer does.
func (b *bench) enable(key string, change ...func(*device.Device)) store.Entry {
	b.t.Helper()
	id := store.NewIncarnation()
	now, err := b.fake.Now(b.t.Context())
	must(b.t, err)
	d := device.Device{
		Type: device.TypeFile, Options: map[string]string{"file_path": strings.Trim(key, "/") + ".log"}, Key: append([]byte(device.Sealing(id)), "key"...),
		State: device.Enabling, Until: now.Add(device.EnableWithin),
	}
	for _, c := range change {
		c(&d)
	}
	e, err := device.Put(store.Entry{Key: key, ID: id}, d)
	must(b.t, err)
	written, err := b.fake.Write(b.t.Context(), store.Write{Puts: []store.Entry{e}})
	must(b.t, err)
	return written[0]
}

// device reads an entry as it is now.
func (b *bench) device(id string) device.Device {
	b.t.Helper()
	e, err := b.fake.EntryByID(b.t.Context(), store.KindAudit, id)
	must(b.t, err)
	d, err := device.Decode(e)
	must(b.t, err)
	return d
}

func (b *bench) answered(id string) (d device.Device) {
	b.t.Helper()
	eventually(b.t, "the device is answered for", func() bool {
		d = b.device(id)
		return d.State != device.Enabling
	})
	return d
}

// record brings the store's events into the ledger.
func (b *bench) record(n int) event.Position {
	b.t.Helper()
	for range n {
		must(b.t, b.fake.Append(b.t.Context(), served(n)))
	}
	_, _, err := b.fake.Number(b.t.Context(), b.lock, 1000)
	must(b.t, err)
	size, err := b.book.Size(1)
	must(b.t, err)
	fresh, err := b.fake.Events(b.t.Context(), event.Position{Epoch: 1, Number: size}, 1000)
	must(b.t, err)
	for _, e := range fresh {
		b.book.add(1, e)
	}
	size, err = b.book.Size(1)
	must(b.t, err)
	return event.Position{Epoch: 1, Number: size}
}

func (b *bench) confirmed(id string, p event.Position) {
	b.t.Helper()
	eventually(b.t, "the device has "+p.String(), func() bool {
		at, err := b.fake.Confirmed(b.t.Context(), device.Consumer(id))
		return err == nil && !at.Before(p)
	})
}

// A device is opened at once, begins where it was enabled, follows, and goes on
// in another process from where it was, also where that was killed.
func TestEnabled(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.record(10)
	table, stop := b.run()
	e := b.enable("file/")
	d := b.answered(e.ID)
	if d.State != device.Active || d.After != (event.Position{Epoch: 1, Number: 10}) {
		t.Fatalf("the device is %+v", d)
	}
	b.confirmed(e.ID, b.record(5))
	eventually(t, "the status is known", func() bool {
		s := table.Status()
		return len(s) == 1 && s[0] == Status{Path: "file/"}
	})
	stop()
	if text := b.log.String(); strings.Count(text, "audit device: writing") != 1 || strings.Contains(text, "disabled") {
		t.Errorf("it was not opened once: %s", text)
	}
	if len(table.Status()) > 0 {
		t.Error("it has a status while it stands by")
	}
	b.record(7)
	_, stop = b.run()
	end := b.record(3)
	b.confirmed(e.ID, end)
	stop()
	all, _ := written(t, filepath.Join(b.dir, "file.log"))
	want := event.Position{Epoch: 1, Number: 11}
	if want.Number++; all[0].Number != 11 || all[len(all)-1] != end { // the first is the opening's own
		t.Errorf("it has %v, want 1-11 to %s", all, end)
	}
	if !slices.IsSortedFunc(all, func(a, b event.Position) int { return int(a.Number - b.Number) }) || len(all) != int(end.Number)-10 {
		t.Errorf("it has %d events: %v", len(all), all)
	}
}

// What cannot be is refused with its reason, in the entry and on record, and
// holds up no other device.
func TestRefused(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.record(1)
	must(t, os.WriteFile(filepath.Join(b.dir, "passwd"), []byte("root:x:0:0"), 0o600))
	_, _ = b.run()
	at := func(path string) func(*device.Device) {
		return func(d *device.Device) { d.Options = map[string]string{"file_path": path} }
	}
	for want, change := range map[string]func(*device.Device){
		`unable to open "/etc/x" for writing`: at("/etc/x"),
		"something else than audit lines":     at("passwd"),
		"file_path is required":               at(""),
		"no auditor opened the file in time":  func(d *device.Device) { d.Until = d.Until.Add(-time.Hour) },
		"open the key of audit device":        func(d *device.Device) { d.Key = []byte("of another") },
	} {
		e := b.enable("x/", change)
		d := b.answered(e.ID)
		if d.State != device.Refused || !strings.Contains(d.Reason, want) {
			t.Errorf("%+v; want %q", d, want)
		}
		must1(t)(b.fake.Write(t.Context(), store.Write{Deletes: []store.Ref{{Kind: e.Kind, ID: e.ID}}}))
	}
	e := b.enable("good/")
	if d := b.answered(e.ID); d.State != device.Active {
		t.Errorf("%+v", d)
	}
	b.record(0)
	var text []string
	for _, line := range b.book.segments[1] {
		text = append(text, string(line))
	}
	contains(t, "the record", strings.Join(text, "\n"), "audit device refused: unable to open", "audit device opened its file", Actor)
	old := b.enable("old/", func(d *device.Device) { d.State, d.Until = device.Refused, d.Until.Add(-time.Hour) })
	eventually(t, "what nobody fetched is forgotten", func() bool {
		_, err := b.fake.EntryByID(t.Context(), store.KindAudit, old.ID)
		return errors.Is(err, store.ErrNotFound)
	})
}

func must1(t *testing.T) func(any, error) {
	t.Helper()
	return func(_ any, err error) { t.Helper(); must(t, err) }
}

// An issuer that gave up first is not contradicted: nothing is written, and the
// file is let go.
func TestTakenBack(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.record(1)
	e := b.enable("file/")
	d, err := device.Decode(e)
	must(t, err)
	table := New(b.book, b.store, plainSeal{}, clock.System{}, b.out, Places{Below: []string{b.dir}})
	gone := e
	gone.Revision++ // as if another change had come first
	must(t, table.answer(t.Context(), gone, d))
	if len(table.Status()) > 0 || b.device(e.ID).State != device.Enabling {
		t.Error("it was answered for")
	}
	out, err := table.open(options("file.log"))
	must(t, err)
	must(t, out.Close())
}

// A full disk is shown (entry, event, log, status), stops nothing else, and is
// caught up with.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.record(1)
	table, _ := b.run()
	e := b.enable("file/")
	b.answered(e.ID)
	b.confirmed(e.ID, b.record(2))
	b.disk.set("write", half)
	end := b.record(50)
	eventually(t, "the trouble is in the entry", func() bool { return strings.Contains(b.device(e.ID).Trouble, errBroken.Error()) })
	if d := b.device(e.ID); d.Since.IsZero() {
		t.Errorf("the device is %+v", d)
	}
	if s := table.Status(); len(s) != 1 || s[0].Trouble == "" || s[0].Behind == 0 {
		t.Errorf("the status is %+v", s)
	}
	other := b.enable("other/")
	if d := b.answered(other.ID); d.State != device.Active {
		t.Errorf("another device: %+v", d)
	}
	b.disk.set("write", works)
	b.confirmed(e.ID, end)
	eventually(t, "it is said that it writes again", func() bool { return b.device(e.ID).Trouble == "" })
	b.confirmed(e.ID, b.record(0))
	contains(t, "the log", b.log.String(), "it does not write", "it writes again")
	all, text := written(t, filepath.Join(b.dir, "file.log"))
	contains(t, "the file", text, "audit device does not write: write: broken on purpose", "audit device writes again")
	seen := map[event.Position]bool{}
	for _, p := range all {
		seen[p] = true
	}
	for n := int64(2); n <= end.Number; n++ {
		if !seen[event.Position{Epoch: 1, Number: n}] {
			t.Errorf("event %d is missing", n)
		}
	}
}

// Rotation: by rename, with and without a hang-up; a file that is deleted.
func TestRotation(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.record(1)
	table, _ := b.run()
	e := b.enable("file/")
	b.answered(e.ID)
	path := filepath.Join(b.dir, "file.log")
	inode := func() uint64 {
		info, err := os.Stat(path)
		if err != nil {
			return 0
		}
		s, _ := info.Sys().(*syscall.Stat_t)
		return s.Ino
	}
	b.confirmed(e.ID, b.record(3))
	must(t, os.Rename(path, path+".1"))
	table.Reopen()
	eventually(t, "another file is made at a hang-up", func() bool { return inode() != 0 })
	b.confirmed(e.ID, b.record(3))
	must(t, os.Rename(path, path+".2"))
	eventually(t, "another file is made without one", func() bool { return inode() != 0 })
	end := b.record(3)
	b.confirmed(e.ID, end)
	all, _ := written(t, files(t, path)...)
	if len(all) != int(end.Number)-1 || all[len(all)-1] != end {
		t.Errorf("the files have %v, want 1-2 to %s", all, end)
	}
	must(t, os.Remove(path))
	eventually(t, "another file is made for one that was deleted", func() bool { return inode() != 0 })
	end = b.record(3)
	b.confirmed(e.ID, end)
	if all, _ := written(t, path); all[len(all)-1] != end {
		t.Errorf("the file has %v", all)
	}
}

// A device that is disabled writes what the ledger has, ends, and lets its file
// go; one that is made anew at the same path is another one.
func TestDisabled(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.record(1)
	table, _ := b.run()
	e := b.enable("file/")
	b.answered(e.ID)
	eventually(t, "it runs", func() bool { return len(table.Status()) == 1 })
	end := b.record(5)
	must1(t)(b.fake.Write(t.Context(), store.Write{Deletes: []store.Ref{{Kind: e.Kind, ID: e.ID}}}))
	eventually(t, "it has ended", func() bool { return len(table.Status()) == 0 })
	again := b.enable("file/")
	if d := b.answered(again.ID); d.State != device.Active {
		t.Fatalf("%+v", d)
	}
	if all, _ := written(t, filepath.Join(b.dir, "file.log")); !slices.Contains(all, end) {
		t.Errorf("%s is not among %v", end, all)
	}
	if at, err := b.fake.Confirmed(t.Context(), device.Consumer(again.ID)); err != nil || at.Number != 0 {
		t.Errorf("the new one begins at %s, %v", at, err)
	}
}

// Devices go on while the store does not answer, and what is unreadable in it
// ends none.
func TestStoreAway(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.record(1)
	_, _ = b.run()
	e := b.enable("file/")
	b.answered(e.ID)
	b.confirmed(e.ID, b.record(1))
	b.store.Break(storetest.Fault{Method: "List"}, storetest.Fault{Method: "Confirm"}, storetest.Fault{Method: "Now"}, storetest.Fault{Method: "Write"})
	end := b.record(5)
	path := filepath.Join(b.dir, "file.log")
	eventually(t, "it writes on", func() bool {
		all, _ := written(t, path)
		return len(all) > 0 && all[len(all)-1] == end
	})
	b.store.Break()
	b.confirmed(e.ID, end)
	contains(t, "the log", b.log.String(), "they are not looked after")

	now, err := b.fake.EntryByID(t.Context(), store.KindAudit, e.ID)
	must(t, err)
	now.Value = json.RawMessage(`{`)
	must1(t)(b.fake.Write(t.Context(), store.Write{Puts: []store.Entry{now}}))
	b.confirmed(e.ID, b.record(5))
}
