package auditor_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/curfew-project/curfew/auditor"
	"github.com/curfew-project/curfew/shared/bus"
	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/device"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/store/storetest"
)

// unsealed is a seal that hides nothing.
type unsealed struct{}

func (unsealed) Open(ciphertext []byte, about string) ([]byte, error) {
	key, ok := bytes.CutPrefix(ciphertext, []byte(about))
	if !ok {
		return nil, errors.New("sealed for something else")
	}
	return key, nil
}

// startWith runs an auditor of the shared ledger that may write below dirs.
func (s *shared) startWith(name string, dirs ...string) (a *auditor.Auditor, stop func() error) {
	s.t.Helper()
	s.links[name] = storetest.NewFaulty(s.fake)
	opening.Lock()
	defer opening.Unlock()
	a, err := auditor.New(s.t.Context(), auditor.Deps{
		Stream: bus.Nop{}, Store: s.links[name], Locks: s.links[name], Seal: unsealed{}, Clock: clock.System{}, Log: s.out,
	}, auditor.Config{
		Dir: filepath.Join(s.dir, name), LedgerDir: filepath.Join(s.dir, "ledger"), Installation: s.name, Name: name, DeviceDirs: dirs,
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return a, s.run(a)
}

// device enables one, as an issuer does, and returns its id once it is open.
func (s *shared) device(path string) string {
	s.t.Helper()
	id := store.NewIncarnation()
	now, err := s.fake.Now(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	e, err := device.Put(store.Entry{Key: "file/", ID: id}, device.Device{
		Type: device.TypeFile, Options: map[string]string{"file_path": path}, Key: append([]byte(device.Sealing(id)), "key"...),
		State: device.Enabling, Until: now.Add(device.EnableWithin),
	})
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := s.fake.Write(s.t.Context(), store.Write{Puts: []store.Entry{e}}); err != nil {
		s.t.Fatal(err)
	}
	var d device.Device
	eventually(s.t, "the device is answered for", func() bool {
		e, err := s.fake.EntryByID(s.t.Context(), store.KindAudit, id)
		if err == nil {
			d, err = device.Decode(e)
		}
		return err == nil && d.State != device.Enabling
	})
	if d.State != device.Active {
		s.t.Fatalf("the device is %+v", d)
	}
	return id
}

// grow commits n events and waits until they are on record.
func (s *shared) grow(n int) event.Position {
	s.t.Helper()
	s.make(n)
	head, _, err := s.fake.Number(s.t.Context(), s.lock, 1000) // the devices' own
	if err != nil {
		s.t.Fatal(err)
	}
	s.n = head.Number
	s.confirmed()
	return head
}

func (s *shared) written(id string, p event.Position) {
	s.t.Helper()
	eventually(s.t, "the device has "+p.String(), func() bool {
		at, err := s.fake.Confirmed(s.t.Context(), device.Consumer(id))
		return err == nil && !at.Before(p)
	})
}

// events are those that a file's lines name, each once.
func events(t *testing.T, path string) (all []string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var l struct{ Curfew struct{ Event string } }
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if !slices.Contains(all, l.Curfew.Event) {
			all = append(all, l.Curfew.Event)
		}
	}
	return all
}

// The auditor that takes over goes on with the devices from where they were; the
// one that stands by has none.
// Not parallel: the ledger is opened in the background; see opening.
func TestDeviceTakenOver(t *testing.T) {
	s := newShared(t)
	logs := filepath.Join(s.dir, "logs")
	if err := os.Mkdir(logs, 0o700); err != nil {
		t.Fatal(err)
	}
	first, stopFirst := s.startWith("first", logs)
	s.make(3)
	s.confirmed()
	path := filepath.Join(logs, "audit.log")
	id := s.device(path)
	s.written(id, s.grow(10))
	if d := first.Devices(); len(d) != 1 || d[0].Trouble != "" {
		t.Errorf("the devices are %+v", d)
	}
	second, stopSecond := s.startWith("second", logs)
	eventually(t, "it tries", func() bool { return s.links["second"].Calls("Acquire") > 1 })
	if d := second.Devices(); len(d) > 0 {
		t.Errorf("it stands by and writes %+v", d)
	}
	if err := stopFirst(); err != nil {
		t.Fatal(err)
	}
	end := s.grow(10)
	s.written(id, end)
	second.Reopen()
	end = s.grow(1)
	s.written(id, end)
	if err := stopSecond(); err != nil {
		t.Error(err)
	}
	var want []string
	for n := int64(4); n <= end.Number; n++ {
		want = append(want, event.Position{Epoch: 1, Number: n}.String())
	}
	if got := events(t, path); !slices.Equal(got, want) {
		t.Errorf("the file has %q, want %q", got, want)
	}
}

// A device that fails holds up neither the record nor its confirmation, is shown,
// and catches up from the ledger, of which the store has deleted its events.
// Not parallel: see opening.
func TestDeviceFails(t *testing.T) {
	s := newShared(t)
	logs := filepath.Join(s.dir, "logs")
	if err := os.Mkdir(logs, 0o700); err != nil {
		t.Fatal(err)
	}
	a, stop := s.startWith("first", logs)
	s.make(3)
	s.confirmed()
	path := filepath.Join(logs, "audit.log")
	id := s.device(path)
	s.written(id, s.grow(5))
	if err := errors.Join(os.Rename(path, path+".1"), os.Mkdir(path, 0o700)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is shown", func() bool { return len(a.Devices()) == 1 && a.Devices()[0].Trouble != "" })
	end := s.grow(100) // returns when the ledger has confirmed it
	if _, err := s.fake.Trim(t.Context(), end, 1000); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	s.written(id, end)
	if err := stop(); err != nil {
		t.Error(err)
	}
	if got := append(events(t, path+".1"), events(t, path)...); len(got) != int(end.Number)-3 || got[len(got)-1] != end.String() {
		t.Errorf("the files have %d events to %s, want %d", len(got), got[len(got)-1], end.Number-3)
	}
}
