package sink

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/curfew-project/curfew/auditor/internal/ledger"
	"github.com/curfew-project/curfew/shared/device"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
)

// hang bounds what must happen some time; it decides nothing.
const hang = time.Minute

// book is a ledger in memory.
type book struct {
	mu       sync.Mutex
	segments map[int64][][]byte
	broken   error
}

func newBook() *book { return &book{segments: map[int64][][]byte{}} }

// add appends the next event of an epoch.
func (b *book) add(epoch int64, e event.Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e.Position = event.Position{Epoch: epoch, Number: int64(len(b.segments[epoch]) + 1)}
	line, err := json.Marshal(e)
	if err != nil {
		panic(err)
	}
	b.segments[epoch] = append(b.segments[epoch], line)
}

// served is the event of a request.
func served(n int) event.Event {
	return event.Event{
		Type: event.RequestServed, Time: time.Unix(int64(n), 0), Subject: "sys/mounts",
		Data: event.Data{
			Actor:     lease.Actor{Name: "accessor", DisplayName: "root", RequestID: fmt.Sprintf("request-%d", n)},
			Operation: "read", Path: "sys/mounts", Status: 200, TokenID: "auth/token/create/h12",
		},
	}
}

func (b *book) grow(epoch int64, n int) {
	for range n {
		b.add(epoch, served(n))
	}
}

func (b *book) Epochs() ([]int64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var all []int64
	for epoch := range b.segments {
		all = append(all, epoch)
	}
	slices.Sort(all)
	return all, b.broken
}

func (b *book) Size(epoch int64) (int64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return int64(len(b.segments[epoch])), b.broken
}

func (b *book) Entries(ctx context.Context, epoch, from, to int64) iter.Seq2[ledger.Entry, error] {
	return func(yield func(ledger.Entry, error) bool) {
		for n := from; n <= to; n++ {
			b.mu.Lock()
			line := b.segments[epoch][n-1]
			b.mu.Unlock()
			if err := ctx.Err(); err != nil {
				yield(ledger.Entry{}, err)
				return
			}
			if !yield(ledger.Entry{Number: n, Data: line}, nil) {
				return
			}
		}
	}
}

// written are the events of the lines of files, in order. Every line is whole, but
// the last of one that was rotated while it was torn: nobody opens that again.
func written(tb testing.TB, files ...string) (all []event.Position, text string) {
	tb.Helper()
	var whole bytes.Buffer
	for _, name := range files {
		raw, err := os.ReadFile(name)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			tb.Fatal(err)
		}
		whole.Write(raw)
		for line := range bytes.Lines(raw) {
			var l struct {
				Type   string
				Curfew struct{ Event string }
			}
			if line[len(line)-1] != '\n' && name != files[len(files)-1] {
				continue
			}
			if err := json.Unmarshal(line, &l); err != nil || line[len(line)-1] != '\n' {
				tb.Fatalf("%s has the line %q: %v", name, line, err)
			}
			p, err := event.ParsePosition(l.Curfew.Event)
			if err != nil {
				tb.Fatal(err)
			}
			if l.Type == asked {
				all = append(all, p)
			}
		}
	}
	return all, whole.String()
}

// files are the file of a device in dir and those that it was rotated to, the
// oldest first.
func files(tb testing.TB, path string) []string {
	tb.Helper()
	all, err := filepath.Glob(path + ".*")
	if err != nil {
		tb.Fatal(err)
	}
	slices.Sort(all)
	return append(all, path)
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(hang); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

func contains(t *testing.T, what, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%s lacks %q: %s", what, part, text)
		}
	}
}

// options are those of a device at a path.
func options(path string) device.Options { return device.Options{Path: path, Mode: 0o600} }
