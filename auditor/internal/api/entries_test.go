package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/curfew-project/curfew/auditor/internal/catalog"
	"github.com/curfew-project/curfew/auditor/internal/ledger"
	"github.com/curfew-project/curfew/shared/event"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) { http.DefaultClient.CloseIdleConnections(); os.Exit(code) }))
}

func numbers(entries []entry) (out []int64) {
	for _, e := range entries {
		out = append(out, e.Number)
	}
	return out
}

func (w *world) pick(keep func(event.Event) bool) (out []int64) {
	for _, e := range w.all {
		if keep(e) {
			out = append(out, e.Position.Number)
		}
	}
	return out
}

func TestFilters(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Config{})
	w.grow(1, 900)
	w.catalogue()
	at := func(i int) time.Time { return start.Add(time.Duration(i) * time.Second) }
	stamp := func(i int) string { return url.QueryEscape(at(i).Format(time.RFC3339Nano)) }
	for query, keep := range map[string]func(event.Event) bool{
		"":                           func(event.Event) bool { return true },
		"lease=":                     func(event.Event) bool { return true },
		"lease=database/creds/r/3":   func(e event.Event) bool { return e.Subject == "database/creds/r/3" },
		"lease=database/creds/r":     func(event.Event) bool { return false },
		"type=lease.revoked":         func(e event.Event) bool { return e.Type == event.LeaseRevoked },
		"type=lease":                 func(event.Event) bool { return false },
		"since=" + stamp(100):        func(e event.Event) bool { return !e.Time.Before(at(100)) },
		"until=" + stamp(100):        func(e event.Event) bool { return e.Time.Before(at(100)) },
		"since=2040-01-01T00:00:00Z": func(event.Event) bool { return false },
		"after=42":                   func(e event.Event) bool { return e.Position.Number > 42 },
		"after=1-42":                 func(e event.Event) bool { return e.Position.Number > 42 },
		"after=0-42":                 func(event.Event) bool { return true },
		"after=2-0":                  func(event.Event) bool { return false },
		"type=lease.revoked&lease=database/creds/r/3&after=1-50&since=" + stamp(80) + "&until=" + stamp(700): func(e event.Event) bool {
			return e.Type == event.LeaseRevoked && e.Subject == "database/creds/r/3" && e.Position.Number > 50 &&
				!e.Time.Before(at(80)) && e.Time.Before(at(700))
		},
	} {
		e := w.entries(query)
		if got, want := numbers(e.Data.Entries), w.pick(keep); !slices.Equal(got, want) {
			t.Errorf("%s finds %v, want %v", query, got, want)
		}
		if len(e.Warnings) > 0 || len(e.RequestID) < 16 || e.Data.Entries == nil {
			t.Errorf("%s: warnings %v, request id %q, entries %v", query, e.Warnings, e.RequestID, e.Data.Entries)
		}
	}
}

func TestEntryIsWhole(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Config{})
	w.grow(1, 3)
	w.catalogue()
	e := w.entries("after=2").Data.Entries[0]
	x, _ := json.Marshal(e)
	y, _ := json.Marshal(show(w.all[2]))
	if !bytes.Equal(x, y) || e.Actor != "someone" || e.Reason != "because" || e.Version != 2 {
		t.Errorf("entry %s\nwant %s", x, y)
	}
}

// Paging by the last entry's id gives everything once, over epochs too.
func TestPaging(t *testing.T) {
	t.Parallel()
	for _, query := range []string{"", "type=lease.renewed&", "lease=database/creds/r/1&", "since=2030-01-02T03:04:05Z&"} {
		w := newWorld(t, Config{})
		w.grow(1, 700)
		w.grow(2, 300)
		w.catalogue()
		want := w.entries(query + "limit=10000").Data.Entries
		var got []entry
		for after := "1-0"; ; {
			page := w.entries(query + "limit=97&after=" + after).Data.Entries
			if got = append(got, page...); len(page) < 97 {
				break
			}
			last := page[len(page)-1]
			after = fmt.Sprintf("%d-%d", last.Epoch, last.Number)
		}
		if !slices.EqualFunc(got, want, func(a, b entry) bool { return a.Epoch == b.Epoch && a.Number == b.Number }) || len(want) < 100 {
			t.Errorf("%s: pages give %d entries, want %d", query, len(got), len(want))
		}
	}
}

func TestLimit(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Config{})
	w.grow(1, 1200)
	w.catalogue()
	for query, want := range map[string]int{"": 1000, "limit=1": 1, "limit=1000": 1000, "limit=10000": 1200} {
		if got := len(w.entries(query).Data.Entries); got != want {
			t.Errorf("%q gives %d entries, want %d", query, got, want)
		}
	}
}

func TestBadInput(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Config{})
	w.grow(1, 3)
	for _, path := range []string{
		"entries?since=yesterday", "entries?until=10m", "entries?limit=0", "entries?limit=-1", "entries?limit=10001",
		"entries?limit=x", "entries?limit=99999999999999999999", "entries?after=x", "entries?after=1-", "entries?after=-5",
		"entries?after=1--5", "entries?after=1-99999999999999999999", "entries?leese=a", "entries?type=a&type=b",
		"stream?after=x", "stream?since=2030-01-01T00:00:00Z", "stream?tipe=lease.revoked",
	} {
		status, header, body := w.get(path)
		var e envelope
		if err := json.Unmarshal(body, &e); err != nil || status != http.StatusBadRequest || len(e.Errors) != 1 || e.Errors[0] == "" ||
			header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	if s := w.open("", "no id"); s.answer.StatusCode != http.StatusBadRequest {
		t.Errorf("Last-Event-ID: %d, want 400", s.answer.StatusCode)
	}
}

func TestOtherPathsAndMethods(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Config{})
	if status, _, body := w.get("nothing"); status != http.StatusNotFound || string(body) != "{\"errors\":[]}\n" {
		t.Errorf("unknown path: %d %s", status, body)
	}
	for method, want := range map[string]int{http.MethodPost: http.StatusMethodNotAllowed, http.MethodDelete: http.StatusMethodNotAllowed, http.MethodHead: http.StatusOK} {
		for _, path := range []string{"entries", "stream"} {
			ctx, cancel := context.WithTimeout(t.Context(), hang)
			r, err := http.NewRequestWithContext(ctx, method, w.url+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			answer, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatalf("%s %s: %v", method, path, err)
			}
			answer.Body.Close()
			cancel()
			if answer.StatusCode != want {
				t.Errorf("%s %s: %d, want %d", method, path, answer.StatusCode, want)
			}
		}
	}
}

// A search waits for the catalogue, and says so where that was not enough.
func TestSearchWhileTheCatalogueIsBehind(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Config{Within: 10 * time.Millisecond})
	w.grow(1, 10)
	w.catalogue()
	w.grow(1, 5)
	e := w.entries("")
	if len(e.Data.Entries) != 10 || len(e.Warnings) != 1 || !strings.Contains(e.Warnings[0], "1-11 to 1-15") {
		t.Errorf("%d entries with the warnings %q", len(e.Data.Entries), e.Warnings)
	}

	w = newWorld(t, Config{Within: hang})
	w.grow(1, 10)
	answer := make(chan envelope)
	go func() { answer <- w.entries("") }()
	w.catalogue()
	if e := <-answer; len(e.Data.Entries) != 10 || len(e.Warnings) != 0 {
		t.Errorf("%d entries with the warnings %q, want all", len(e.Data.Entries), e.Warnings)
	}
}

// Section E: searches are bounded.
func TestTooManySearches(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Config{Within: hang, Searches: 1})
	w.grow(1, 10)
	answer := make(chan envelope)
	go func() { answer <- w.entries("") }() // waits for the catalogue
	for len(w.handler.searches) == 0 {
		time.Sleep(time.Millisecond)
	}
	status, header, body := w.get("entries")
	if status != http.StatusServiceUnavailable || header.Get("Retry-After") == "" || !strings.Contains(string(body), `{"errors":["`) {
		t.Errorf("a second search: %d %v %s", status, header, body)
	}
	w.catalogue()
	<-answer
	w.entries("")
}

func TestCheckpointAndKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Config{})
	if status, _, _ := w.get("checkpoint"); status != http.StatusNotFound {
		t.Errorf("before the first: %d, want 404", status)
	}
	w.grow(1, 20)
	_, _, text := w.get("key")
	key, err := ledger.ParsePublicKey(string(text))
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(hang); ; time.Sleep(10 * time.Millisecond) {
		_, header, note := w.get("checkpoint")
		if p, err := ledger.ParseCheckpoint(key, note); err == nil && p.Size == 20 {
			if !strings.HasPrefix(header.Get("Content-Type"), "text/plain") {
				t.Errorf("content type %q", header.Get("Content-Type"))
			}
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("no checkpoint over 20 entries: %s", note)
		}
	}
}

// A damaged entry is shown as such, and hides nothing else.
func TestDamagedEntry(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Config{})
	w.grow(1, 10)
	damage(t, w.dir, `"number":4}`, `"number":4!`)
	w.catalogue()
	found := w.entries("").Data.Entries
	if len(found) != 10 || found[3].Type != catalog.Unreadable || found[4].Type == catalog.Unreadable {
		t.Errorf("entries %+v", found)
	}
	s := w.open("after=1-2", "")
	for n := int64(3); n <= 10; n++ {
		if e := s.event(); e.Number != n || (e.Type == catalog.Unreadable) != (n == 4) {
			t.Errorf("the stream gives %+v as entry %d", e, n)
		}
	}
}

// A page that cannot be read to its end is never taken for whole: it breaks off,
// and where nothing was written yet it is refused.
func TestUnreadablePageBreaksOff(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Config{})
	w.grow(1, 900)
	w.catalogue()
	if err := os.Remove(filepath.Join(w.dir, "ledger", "epoch-0001", "tile", "entries", "002")); err != nil {
		t.Fatal(err) // entries 513 to 768
	}
	if status, _, body := w.get("entries?after=1-512"); status != http.StatusInternalServerError {
		t.Errorf("nothing can be read: %d %.100s", status, body)
	}
	answer, err := http.Get(w.url + "entries?limit=900")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if body, err := io.ReadAll(answer.Body); err == nil || len(body) < writes || json.Valid(body) {
		t.Errorf("the answer of %d bytes ends with %v", len(body), err)
	}
	if found := w.entries("limit=512").Data.Entries; len(found) != 512 {
		t.Errorf("before the damage there are %d entries, want 512", len(found))
	}
}

// damage replaces a text in the files of the ledger's entries.
func damage(t *testing.T, dir, from, to string) {
	t.Helper()
	changed := 0
	err := filepath.WalkDir(filepath.Join(dir, "ledger", "epoch-0001", "tile", "entries"), func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if bad := bytes.ReplaceAll(raw, []byte(from), []byte(to)); !bytes.Equal(raw, bad) {
			changed++
			return os.WriteFile(path, bad, 0o600)
		}
		return nil
	})
	if err != nil || changed == 0 {
		t.Fatalf("damaged %d files, %v", changed, err)
	}
}
