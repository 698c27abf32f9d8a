//go:build e2e

package fleet

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// follower reads the live stream of server-sent events, and comes back with
// Last-Event-ID whenever it is cut, as a browser does.
type follower struct {
	mu      sync.Mutex
	place   string // the last id
	events  int
	streams int // that began
	wrong   error
}

// follow starts one at the place where the record was read to. It ends with the
// test.
func (f *fleet) follow(tb testing.TB) *follower {
	tb.Helper()
	eventually(tb, "read the record", func() error {
		if err := f.read(tb); err != nil {
			return err
		}
		if f.record.entries == 0 {
			return errors.New("it is empty")
		}
		return nil
	})
	r := &follower{place: f.record.last.id()}
	ctx, cancel := context.WithCancel(tb.Context())
	var reading sync.WaitGroup
	reading.Go(func() {
		for ctx.Err() == nil {
			r.stream(ctx, f)
		}
	})
	tb.Cleanup(func() { cancel(); reading.Wait() })
	return r
}

// stream reads one stream until it is cut. The server may be away.
func (r *follower) stream(ctx context.Context, f *fleet) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, f.URL+"/v1/audit/stream", http.NoBody)
	if err != nil {
		r.fail(err)
		return
	}
	place, _ := r.state()
	req.Header.Set("X-Vault-Token", f.root)
	req.Header.Set("Last-Event-ID", place)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return
	}
	defer func() { _ = res.Body.Close() }() // it was cut
	if res.StatusCode != http.StatusOK {
		return
	}
	r.mu.Lock()
	r.streams++
	r.mu.Unlock()
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(nil, 1<<20)
	var id string
	data := false
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ": ")
		switch name {
		case "id":
			id = value
		case "data":
			data = true
		case "": // the end of an event, or of a mark of the place
			if id != "" {
				r.take(id, data)
			}
			id, data = "", false
		}
	}
}

// take notes an event, or a mark. Both must be where the reader is: a mark at
// the place, an event next to it.
func (r *follower) take(id string, event bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var epoch, number int64
	if _, err := fmt.Sscanf(r.place, "%d-%d", &epoch, &number); err != nil {
		r.wrong = err
		return
	}
	want := r.place
	if event {
		want = fmt.Sprintf("%d-%d", epoch, number+1)
		r.events++
	}
	if id != want && r.wrong == nil {
		r.wrong = fmt.Errorf("after %s the stream has %s (an event: %t)", r.place, id, event)
	}
	r.place = id
}

func (r *follower) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wrong = err
}

// state is where the reader is, and what was wrong.
func (r *follower) state() (place string, wrong error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.place, r.wrong
}

// caught waits until the reader has what the record has now.
func (r *follower) caught(tb testing.TB, f *fleet) {
	tb.Helper()
	eventually(tb, "read the record", func() error { return f.read(tb) })
	end := f.record.last
	eventually(tb, "the stream reaches the end of the record", func() error {
		place, wrong := r.state()
		if wrong != nil {
			tb.Fatal(wrong)
		}
		var epoch, number int64
		if _, err := fmt.Sscanf(place, "%d-%d", &epoch, &number); err != nil {
			return err
		}
		if number < end.Number {
			return fmt.Errorf("it is at %s, the record at %s", place, end.id())
		}
		return nil
	})
	tb.Logf("the reader of the stream got %d events over %d streams", r.events, r.streams)
}
