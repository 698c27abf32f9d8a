package catalog

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"pgregory.net/rapid"

	"github.com/curfew-project/curfew/auditor/internal/ledger"
	"github.com/curfew-project/curfew/shared/event"
)

// record is a ledger in memory: what a follower reads of one.
type record struct {
	segments map[int64][][]byte
}

func newRecord() *record { return &record{segments: map[int64][][]byte{}} }

func (r *record) Epochs() (out []int64, _ error) {
	for epoch := range r.segments {
		out = append(out, epoch)
	}
	slices.Sort(out)
	return out, nil
}

func (r *record) Size(epoch int64) (int64, error) { return int64(len(r.segments[epoch])), nil }

func (r *record) Entries(_ context.Context, epoch, from, to int64) iter.Seq2[ledger.Entry, error] {
	return func(yield func(ledger.Entry, error) bool) {
		for n := from; n <= min(to, int64(len(r.segments[epoch]))); n++ {
			if !yield(ledger.Entry{Number: n, Data: r.segments[epoch][n-1]}, nil) {
				return
			}
		}
	}
}

// add appends events to a segment; position is set.
func (r *record) add(epoch int64, events ...event.Event) (out []event.Event) {
	for _, e := range events {
		e.Position = event.Position{Epoch: epoch, Number: int64(len(r.segments[epoch])) + 1}
		line, err := json.Marshal(e)
		if err != nil {
			panic(err)
		}
		r.segments[epoch] = append(r.segments[epoch], line)
		out = append(out, e)
	}
	return out
}

var start = time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)

// some makes n events: times rise, with disorder; few types and subjects.
func some(from, n int) (out []event.Event) {
	for i := from; i < from+n; i++ {
		out = append(out, event.Event{
			Type: []event.Type{event.LeaseCreated, event.LeaseRevoked}[i%2], Subject: fmt.Sprintf("lease/%d", i%5),
			Time: start.Add(time.Duration(i)*time.Second - time.Duration(i%3)*2*time.Second),
		})
	}
	return out
}

func mustOpen(tb testing.TB, dir string) *Catalog {
	tb.Helper()
	c, err := Open(tb.Context(), dir)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = c.Close() })
	return c
}

func follow(tb testing.TB, r *record, c *Catalog) {
	tb.Helper()
	rest, err := NewFollower(r, c, zerolog.Nop()).Do(tb.Context())
	if err != nil || rest <= 0 {
		tb.Fatalf("follow: rest %s, %v", rest, err)
	}
}

func find(tb testing.TB, c *Catalog, q Query) []event.Position {
	tb.Helper()
	if q.Limit == 0 {
		q.Limit = 10_000
	}
	found, err := c.Find(tb.Context(), q)
	if err != nil {
		tb.Fatal(err)
	}
	return found
}

// scan is what a search has to find, read one by one.
func scan(all []event.Event, q Query) (out []event.Position) {
	for _, e := range all {
		switch {
		case !q.After.Before(e.Position), q.Subject != "" && e.Subject != q.Subject, q.Type != "" && string(e.Type) != q.Type,
			!q.Since.IsZero() && e.Time.Before(q.Since), !q.Until.IsZero() && !e.Time.Before(q.Until):
		case len(out) < q.Limit:
			out = append(out, e.Position)
		}
	}
	return out
}

// The law: a search finds what a look at every entry finds.
func TestFindsWhatAScanFinds(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		r := newRecord()
		c := mustOpen(t, t.TempDir())
		defer c.Close()
		f := NewFollower(r, c, zerolog.Nop())
		var all []event.Event
		moment := rapid.Custom(func(t *rapid.T) time.Time {
			return start.Add(time.Duration(rapid.IntRange(-3, 40).Draw(t, "s")) * time.Second)
		})
		kind := rapid.SampledFrom([]event.Type{event.LeaseCreated, event.LeaseRevoked, event.TokenCreated})
		subject := rapid.SampledFrom([]string{"a", "b", "a/b", ""})
		epoch := int64(1)
		for range rapid.IntRange(1, 4).Draw(rt, "rounds") {
			for range rapid.IntRange(0, 30).Draw(rt, "n") {
				all = append(all, r.add(epoch, event.Event{Type: kind.Draw(rt, "type"), Subject: subject.Draw(rt, "subject"), Time: moment.Draw(rt, "time")})...)
			}
			if _, err := f.Do(t.Context()); err != nil {
				rt.Fatal(err)
			}
			epoch += int64(rapid.IntRange(0, 2).Draw(rt, "epochs"))
		}
		for range 10 {
			q := Query{
				Limit: rapid.SampledFrom([]int{1, 3, 1000}).Draw(rt, "limit"),
				After: event.Position{Epoch: rapid.Int64Range(0, epoch).Draw(rt, "epoch"), Number: rapid.Int64Range(0, 30).Draw(rt, "after")},
			}
			if rapid.Bool().Draw(rt, "by subject") {
				q.Subject = subject.Draw(rt, "subject")
			}
			if rapid.Bool().Draw(rt, "by type") {
				q.Type = string(kind.Draw(rt, "type"))
			}
			if rapid.Bool().Draw(rt, "by since") {
				q.Since = moment.Draw(rt, "since")
			}
			if rapid.Bool().Draw(rt, "by until") {
				q.Until = moment.Draw(rt, "until")
			}
			if got, want := find(t, c, q), scan(all, q); !slices.Equal(got, want) {
				rt.Fatalf("%+v finds %v, want %v", q, got, want)
			}
		}
	})
}

// Every search goes along an index, in order of position, and sorts nothing.
func TestPlans(t *testing.T) {
	t.Parallel()
	c := mustOpen(t, t.TempDir())
	plan := func(text string, args ...any) string {
		rows, err := c.db.QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+text, args...)
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		var all []string
		for rows.Next() {
			var a, b, d int
			var detail string
			if err := rows.Scan(&a, &b, &d, &detail); err != nil {
				t.Fatal(err)
			}
			all = append(all, detail)
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
		return strings.Join(all, "; ")
	}
	now := time.Now()
	for want, q := range map[string]Query{
		"PRIMARY KEY":                      {Since: now, Until: now},
		"INDEX entries_type (type=?":       {Type: "x", Since: now},
		"INDEX entries_subject (subject=?": {Subject: "x", Type: "y", Until: now},
	} {
		text, args := statement(q)
		if got := plan(text, args...); !strings.Contains(got, "SEARCH") || !strings.Contains(got, want) || strings.Contains(got, "TEMP B-TREE") {
			t.Errorf("%s\nruns as %s\nwant %s", text, got, want)
		}
	}
	if got := plan(selectFirst, 1); !strings.Contains(got, "SEARCH entries USING COVERING INDEX entries_high (high>?)") || strings.Contains(got, "TEMP B-TREE") {
		t.Errorf("%s\nruns as %s", selectFirst, got)
	}
}

// It lags, catches up with what came meanwhile, and goes on after a restart.
func TestCatchesUp(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := newRecord()
	all := r.add(1, some(0, 2500)...)
	c := mustOpen(t, dir)
	if at, _ := c.Reached().At(); at != (event.Position{}) {
		t.Errorf("an empty catalogue is at %s", at)
	}
	follow(t, r, c)
	all = append(all, r.add(1, some(2500, 3)...)...)
	follow(t, r, c)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	all = append(all, r.add(3, some(2503, 1200)...)...)
	c = mustOpen(t, dir)
	if at, _ := c.Reached().At(); at != (event.Position{Epoch: 1, Number: 2503}) {
		t.Errorf("after a restart it is at %s, want 1-2503", at)
	}
	follow(t, r, c)
	q := Query{Type: string(event.LeaseRevoked), Limit: 10_000}
	if got, want := find(t, c, q), scan(all, q); !slices.Equal(got, want) {
		t.Errorf("finds %d, want %d", len(got), len(want))
	}
	if at, _ := c.Reached().At(); at != (event.Position{Epoch: 3, Number: 1200}) {
		t.Errorf("it is at %s, want 3-1200", at)
	}
}

// Whatever happened to the file while nobody had it, the catalogue is right.
func TestMadeAnew(t *testing.T) {
	t.Parallel()
	edit := func(sql string) func(t *testing.T, path string) {
		return func(t *testing.T, path string) {
			t.Helper()
			c := mustOpen(t, filepath.Dir(path))
			if _, err := c.db.ExecContext(t.Context(), sql); err != nil {
				t.Fatal(err)
			}
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	write := func(change func([]byte) []byte) func(t *testing.T, path string) {
		return func(t *testing.T, path string) {
			t.Helper()
			raw, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, change(raw), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, happen := range map[string]func(t *testing.T, path string){
		"nothing": func(*testing.T, string) {},
		"deleted": func(t *testing.T, path string) {
			t.Helper()
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		},
		"empty":         write(func([]byte) []byte { return nil }),
		"no database":   write(func([]byte) []byte { return []byte(strings.Repeat("not a database ", 1000)) }),
		"cut short":     write(func(b []byte) []byte { return b[:len(b)/2] }),
		"header gone":   write(func(b []byte) []byte { clear(b[:100]); return b }),
		"pages gone":    write(func(b []byte) []byte { clear(b[4096:]); return b }),
		"other version": edit("PRAGMA user_version = 1"),
		"later version": edit("PRAGMA user_version = 99"),
		"table gone":    edit("DROP TABLE place"),
		"other table":   edit("DROP TABLE entries"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			r := newRecord()
			all := r.add(1, some(0, 700)...)
			c := mustOpen(t, dir)
			follow(t, r, c)
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
			happen(t, filepath.Join(dir, FileName))
			c = mustOpen(t, dir)
			f := NewFollower(r, c, zerolog.Nop())
			all = append(all, r.add(1, some(700, 5)...)...)
			for range 5 { // damage may be met by a search, or by the addition
				_, _ = f.Do(t.Context())
				_, _ = c.Find(t.Context(), Query{Limit: 10_000})
				_, _ = c.Find(t.Context(), Query{Limit: 10_000, Type: string(event.LeaseRevoked)})
			}
			for _, q := range []Query{{Limit: 10_000}, {Limit: 10_000, Subject: "lease/3"}, {Limit: 10_000, Since: start.Add(time.Minute)}} {
				if got, want := find(t, c, q), scan(all, q); !slices.Equal(got, want) {
					t.Errorf("%+v finds %d, want %d", q, len(got), len(want))
				}
			}
		})
	}
}

// A ledger that was replaced: by a shorter one, by one of the same length, by a
// longer one; before the start or under the process.
func TestReplacedLedger(t *testing.T) {
	t.Parallel()
	for name, replace := range map[string]func(r *record) []event.Event{
		"shorter": func(r *record) []event.Event { return r.add(1, some(1000, 50)...) },
		"shorter, same history": func(r *record) []event.Event {
			return r.add(1, some(0, 50)...)
		},
		"longer":      func(r *record) []event.Event { return r.add(1, some(1000, 500)...) },
		"as long":     func(r *record) []event.Event { return r.add(1, some(1000, 100)...) },
		"other epoch": func(r *record) []event.Event { return r.add(2, some(1000, 10)...) },
		"empty":       func(*record) []event.Event { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			r := newRecord()
			r.add(1, some(0, 100)...)
			c := mustOpen(t, dir)
			running := NewFollower(r, c, zerolog.Nop())
			if _, err := running.Do(t.Context()); err != nil {
				t.Fatal(err)
			}
			r.segments = map[int64][][]byte{}
			all := replace(r)
			check := func(when string) {
				t.Helper()
				for _, q := range []Query{{Limit: 1000}, {Limit: 1000, Since: start.Add(500 * time.Second)}, {Limit: 1000, Subject: "lease/2"}} {
					if got, want := find(t, c, q), scan(all, q); !slices.Equal(got, want) {
						t.Errorf("%s: %+v finds %v, want %v", when, q, got, want)
					}
				}
			}
			if len(all) != 100 { // one that grew to the same length meanwhile is seen when it grows, or at a start
				if _, err := running.Do(t.Context()); err != nil {
					t.Fatal(err)
				}
				check("running")
			}
			follow(t, r, c) // a start
			check("after a start")
		})
	}
}

// An entry that is no event, or one of another number, hides only itself.
func TestUnreadableEntries(t *testing.T) {
	t.Parallel()
	r := newRecord()
	r.add(1, some(0, 10)...)
	r.segments[1][3] = []byte(`{"position":{"epoch":1,"number":4},"type":`)
	r.segments[1][6] = r.segments[1][1]
	c := mustOpen(t, t.TempDir())
	follow(t, r, c)
	if got := len(find(t, c, Query{Since: start.Add(-time.Hour)})); got != 10 {
		t.Errorf("%d entries are found, want 10", got)
	}
	want := []event.Position{{Epoch: 1, Number: 4}, {Epoch: 1, Number: 7}}
	if got := find(t, c, Query{Type: string(Unreadable)}); !slices.Equal(got, want) {
		t.Errorf("unreadable are %v, want %v", got, want)
	}
}

// The file is its owner's alone from before it has content, whatever was there.
func TestFileIsPrivate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, FileName)
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	r := newRecord()
	r.add(1, some(0, 100)...)
	c := mustOpen(t, dir)
	follow(t, r, c)
	for _, suffix := range []string{"", "-wal", "-shm"} {
		info, err := os.Stat(path + suffix)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v; want mode 0600", suffix, info.Mode(), err)
		}
	}
}

// What cannot be opened is not deleted.
func TestBusyFileIsKept(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, FileName), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), dir); err == nil {
		t.Error("a directory was opened as a catalogue")
	}
	if info, err := os.Stat(filepath.Join(dir, FileName)); err != nil || !info.IsDir() {
		t.Error("the directory was deleted")
	}
}

// Times that nanoseconds since 1970 cannot express are the nearest that can.
func TestFarTimes(t *testing.T) {
	t.Parallel()
	r := newRecord()
	r.add(1, some(0, 10)...)
	c := mustOpen(t, t.TempDir())
	follow(t, r, c)
	early, late := time.Date(1, 1, 1, 0, 0, 1, 0, time.UTC), time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)
	if got := len(find(t, c, Query{Since: early, Until: late})); got != 10 {
		t.Errorf("between the years 1 and 9999 are %d, want 10", got)
	}
	if got := len(find(t, c, Query{Since: late})) + len(find(t, c, Query{Until: early})); got != 0 {
		t.Errorf("beyond are %d, want none", got)
	}
}
