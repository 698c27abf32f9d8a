package sse_test

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"pgregory.net/rapid"

	"github.com/curfew-project/curfew/services/curfew/internal/cli/internal/sse"
)

func readAll(in io.Reader, lastID string) ([]sse.Event, *sse.Reader, error) {
	r := sse.NewReader(in, lastID)
	var events []sse.Event
	for {
		event, err := r.Next()
		if err != nil {
			return events, r, err
		}
		events = append(events, event)
	}
}

func TestReaderFollowsTheStandard(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		stream, lastID string
		want           []sse.Event
	}{
		"one event":             {"id: 1/7\nevent: lease.created\ndata: {\"a\":1}\n\n", "", []sse.Event{{"1/7", "lease.created", `{"a":1}`}}},
		"CRLF and CR":           {"data: a\r\n\r\ndata: b\r\rdata: c\n\n", "", []sse.Event{{Data: "a"}, {Data: "b"}, {Data: "c"}}},
		"byte order mark":       {"\ufeffdata: a\n\n", "", []sse.Event{{Data: "a"}}},
		"heartbeat":             {": ping\n\n:\n\ndata: a\n\n", "", []sse.Event{{Data: "a"}}},
		"data lines join":       {"data: a\ndata\ndata:b\n\n", "", []sse.Event{{Data: "a\n\nb"}}},
		"only one space goes":   {"data:  a\n\n", "", []sse.Event{{Data: " a"}}},
		"id stays":              {"id: 5\ndata: a\n\ndata: b\n\n", "", []sse.Event{{ID: "5", Data: "a"}, {ID: "5", Data: "b"}}},
		"id resumes":            {"data: a\n\n", "4", []sse.Event{{ID: "4", Data: "a"}}},
		"id without data stays": {"id: 9\n\ndata: a\n\n", "", []sse.Event{{ID: "9", Data: "a"}}},
		"id with NUL ignored":   {"id: 5\x00\ndata: a\n\n", "4", []sse.Event{{ID: "4", Data: "a"}}},
		"type without data":     {"event: x\n\ndata: a\n\n", "", []sse.Event{{Data: "a"}}},
		"cut in an event":       {"data: a\n\nid: 2\ndata: b\n", "", []sse.Event{{Data: "a"}}},
		"unknown field":         {"colour: red\ndata: a\n\n", "", []sse.Event{{Data: "a"}}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// One byte at a time: what a slow network does to line ends.
			got, _, err := readAll(iotest.OneByteReader(strings.NewReader(tc.stream)), tc.lastID)
			if !errors.Is(err, io.EOF) {
				t.Fatalf("end: %v", err)
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("events %+v, want %+v", got, tc.want)
			}
		})
	}
}

func TestReaderReportsTheRetryDelay(t *testing.T) {
	t.Parallel()
	_, r, _ := readAll(strings.NewReader("retry: soon\nretry: 250\nretry: -1\ndata: a\n\n"), "")
	if r.Retry() != 250*time.Millisecond {
		t.Errorf("Retry = %s, want 250ms", r.Retry())
	}
}

func TestReaderReportsWhereToResume(t *testing.T) {
	t.Parallel()
	for stream, want := range map[string]string{
		"":                                     "4",
		"id: 5\n\n":                            "5",
		"id: 5\ndata: a\n\nid: 6\n\n":          "6",
		"id: 5\ndata: a\n\nid: 6\ndata: cut\n": "5",
		"id\n\n":                               "",
	} {
		if _, r, _ := readAll(strings.NewReader(stream), "4"); r.LastID() != want {
			t.Errorf("after %q: LastID = %q, want %q", stream, r.LastID(), want)
		}
	}
}

func TestReaderBoundsAnEvent(t *testing.T) {
	t.Parallel()
	endless := io.MultiReader(strings.NewReader("data: a\n\ndata: "), strings.NewReader(strings.Repeat("x", sse.MaxEvent)))
	events, _, err := readAll(endless, "")
	if !errors.Is(err, sse.ErrTooLarge) {
		t.Errorf("end: %v, want ErrTooLarge", err)
	}
	if len(events) != 1 {
		t.Errorf("%d events before it, want 1", len(events))
	}
}

func TestReaderOutlivesAnyNumberOfHeartbeats(t *testing.T) {
	t.Parallel()
	stream := strings.Repeat(": still here\n", sse.MaxEvent/8) + "data: a\n\n"
	events, _, err := readAll(strings.NewReader(stream), "")
	if !errors.Is(err, io.EOF) || len(events) != 1 {
		t.Errorf("%d events, end %v; want the one after the heartbeats", len(events), err)
	}
}

// What a writer puts on the stream is what the reader delivers, whichever line
// end the writer uses.
func TestReaderRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		end := rapid.SampledFrom([]string{"\n", "\r", "\r\n"}).Draw(t, "end")
		event := rapid.Custom(func(t *rapid.T) sse.Event {
			text := rapid.StringMatching(`[a-z {}":,]{0,20}`)
			return sse.Event{
				ID:   rapid.StringMatching(`[0-9]/[0-9]{1,9}`).Draw(t, "id"),
				Type: text.Draw(t, "type"),
				Data: strings.Join(rapid.SliceOfN(text, 1, 4).Draw(t, "data"), "\n"),
			}
		})
		want := rapid.SliceOf(event).Draw(t, "events")
		var stream strings.Builder
		for _, e := range want {
			stream.WriteString("id: " + e.ID + end + "event: " + e.Type + end)
			for line := range strings.SplitSeq(e.Data, "\n") {
				stream.WriteString("data: " + line + end)
			}
			stream.WriteString(end)
		}
		got, _, err := readAll(strings.NewReader(stream.String()), "")
		if !errors.Is(err, io.EOF) || !slices.Equal(got, want) {
			t.Fatalf("events %+v (%v), want %+v", got, err, want)
		}
	})
}

// Foreign bytes: the reader ends, keeps its bound, and never puts a line end
// other than LF into data or any into an id or type.
func FuzzReader(f *testing.F) {
	f.Add("id: 1\nevent: a\ndata: b\r\n\r\n")
	f.Add("\ufeff:\n\nretry: 9\rdata\r\r")
	f.Fuzz(func(t *testing.T, stream string) {
		events, _, err := readAll(strings.NewReader(stream), "")
		if !errors.Is(err, io.EOF) && !errors.Is(err, sse.ErrTooLarge) {
			t.Fatalf("end: %v", err)
		}
		for _, e := range events {
			if strings.ContainsRune(e.Data, '\r') || strings.ContainsAny(e.ID+e.Type, "\r\n") {
				t.Fatalf("line end inside %+v", e)
			}
			if len(e.Data) > sse.MaxEvent {
				t.Fatalf("%d bytes of data", len(e.Data))
			}
		}
	})
}
