package api

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/curfew-project/curfew/shared/event"
)

// Its place is a reader's first id: cut before its first event, it resumes
// there.
func TestPlaceOnConnect(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Config{})
	s := w.open("", "")
	if id := s.mark(); id != "1-0" {
		t.Errorf("the place of an empty record is %s", id)
	}
	s.close()
	w.grow(1, 5)
	s = w.open("", "")
	id := s.mark()
	if id != "1-5" || s.answer.Header.Get("Content-Type") != "text/event-stream" {
		t.Errorf("the place is %s, the content type %q", id, s.answer.Header.Get("Content-Type"))
	}
	s.close()
	w.grow(1, 3)
	s = w.open("", id)
	for n := int64(6); n <= 8; n++ {
		if e := s.event(); e.Number != n {
			t.Errorf("entry %d, want %d", e.Number, n)
		}
	}
	w.grow(1, 1) // while it is open
	if e := s.event(); e.Number != 9 {
		t.Errorf("entry %d, want 9", e.Number)
	}
}

// Nothing is missed and nothing comes twice, over reconnects at any place while
// the ledger grows by thousands.
func TestReconnectsUnderLoad(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Config{Pace: time.Millisecond})
	const total, readers = 6000, 4
	var wg sync.WaitGroup
	ready := make(chan struct{}, readers)
	for range readers {
		wg.Go(func() {
			place, want := "", int64(1)
			for want <= total {
				s := w.open("", place)
				place = s.mark()
				if want == 1 {
					ready <- struct{}{}
				}
				for range rand.IntN(900) { // none: cut before the first event
					e := s.event()
					if e.Number != want {
						t.Errorf("entry %d, want %d", e.Number, want)
						return
					}
					place = fmt.Sprintf("%d-%d", e.Epoch, e.Number)
					if want++; want > total {
						break
					}
				}
				s.close()
			}
		})
	}
	for range readers {
		<-ready
	}
	for n := 0; n < total; {
		k := min(total-n, 1+rand.IntN(400))
		w.grow(1, k)
		n += k
	}
	wg.Wait()
}

func TestStreamOverEpochs(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Config{Pace: time.Millisecond})
	w.grow(1, 300)
	w.grow(3, 2)
	s := w.open("after=290", "")
	for _, want := range w.all[290:] {
		if e := s.event(); e.Epoch != want.Position.Epoch || e.Number != want.Position.Number {
			t.Fatalf("entry %d-%d, want %s", e.Epoch, e.Number, want.Position)
		}
	}
}

// Places that no event has: before the first, and not yet reached.
func TestOddPlaces(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Config{Heartbeat: time.Millisecond, Pace: time.Millisecond})
	w.grow(1, 3)
	for _, place := range []string{"0", "0-0", "0-2", "1-0"} {
		if e := w.open("", place).event(); e.Number != 1 {
			t.Errorf("after %s comes entry %d, want 1", place, e.Number)
		}
	}
	for _, place := range []string{"1-3", "1-100", "9-1", "9223372036854775807-9223372036854775807"} {
		s := w.open("", place)
		for range 3 {
			if id := s.mark(); id != place {
				t.Errorf("waiting after %s, the place is %s", place, id)
			}
		}
	}
}

// The header of a reader that comes back wins over its first address.
func TestLastEventIDWins(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Config{})
	w.grow(1, 10)
	if e := w.open("after=1-2", "1-7").event(); e.Number != 8 {
		t.Errorf("entry %d, want 8", e.Number)
	}
}

// A filter sends only its type, and its places move on with what it leaves out.
func TestTypeFilter(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Config{Heartbeat: 10 * time.Millisecond, Pace: time.Millisecond})
	w.grow(1, 300)
	s := w.open("type=lease.revoked&after=1-0", "")
	for _, e := range w.all {
		if e.Type != event.LeaseRevoked {
			continue
		}
		if got := s.event(); got.Number != e.Position.Number {
			t.Fatalf("entry %d, want %d", got.Number, e.Position.Number)
		}
	}
	s = w.open("type=no.such&after=1-0", "")
	place := s.mark()
	for place != "1-300" { // or the stream ends
		place = s.mark()
	}
}

func TestHeartbeat(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Config{Heartbeat: time.Millisecond, Pace: time.Millisecond})
	w.grow(1, 3)
	s := w.open("", "")
	for range 5 {
		if id := s.mark(); id != "1-3" {
			t.Errorf("the place is %s, want 1-3", id)
		}
	}
}

// Section E: readers are bounded, and a place becomes free.
func TestTooManyReaders(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Config{Readers: 2})
	one, two := w.open("", ""), w.open("", "")
	one.mark()
	two.mark()
	three := w.open("", "")
	body, _ := io.ReadAll(three.answer.Body)
	if three.answer.StatusCode != http.StatusServiceUnavailable || three.answer.Header.Get("Retry-After") == "" || !strings.Contains(string(body), `{"errors":["`) {
		t.Errorf("a third reader: %d %v %s", three.answer.StatusCode, three.answer.Header, body)
	}
	one.close()
	for deadline := time.Now().Add(hang); w.open("", "").answer.StatusCode != http.StatusOK; {
		if time.Now().After(deadline) {
			t.Fatal("the place of a reader that left stays taken")
		}
		time.Sleep(time.Millisecond)
	}
}

// A reader that takes nothing is cut, and costs no memory until then.
func TestSlowReader(t *testing.T) {
	const readers = 16
	w := newWorld(t, Config{Readers: readers, Write: 2 * time.Second})
	w.grow(1, 6000) // more than the buffers of a connection
	var before, during runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for range readers {
		conn, err := net.Dial("tcp", strings.TrimPrefix(strings.TrimSuffix(w.url, "/v1/audit/"), "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if err := conn.(*net.TCPConn).SetReadBuffer(4 << 10); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, "GET /v1/audit/stream?after=1-0 HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
	}
	for len(w.handler.readers) < readers {
		time.Sleep(time.Millisecond)
	}
	runtime.GC()
	runtime.ReadMemStats(&during)
	if grown := int64(during.HeapAlloc) - int64(before.HeapAlloc); grown > readers<<20 {
		t.Errorf("%d readers that take nothing cost %d kB", readers, grown>>10)
	}
	for deadline := time.Now().Add(hang); len(w.handler.readers) > 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d readers that take nothing are still served", len(w.handler.readers))
		}
	}
	if e := w.open("", "1-5999").event(); e.Number != 6000 {
		t.Errorf("entry %d, want 6000", e.Number)
	}
}

// An orderly stop ends streams at once, and lets none begin.
func TestStopEndsStreams(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Config{})
	w.grow(1, 3)
	s := w.open("", "")
	s.mark()
	w.handler.Stop()
	w.handler.Stop()
	s.ends()
	w.open("after=0", "").ends()
	w.get("key")
}

// The right to read is looked at again.
func TestStreamsDoNotLastForEver(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Config{Longest: 20 * time.Millisecond})
	w.open("", "").ends()
}

// A ledger that is shorter than it was said to be ends the stream instead of
// making it spin.
func TestShorterLedger(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Config{})
	w.grow(1, 3)
	w.handler.Grown(event.Position{Epoch: 1, Number: 10})
	s := w.open("after=0", "")
	for n := int64(1); n <= 3; n++ {
		if e := s.event(); e.Number != n {
			t.Errorf("entry %d, want %d", e.Number, n)
		}
	}
	s.ends()
}
