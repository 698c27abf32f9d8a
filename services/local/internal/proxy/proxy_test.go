package proxy

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/rs/zerolog"
)

// backend answers with its name and the body that it got.
func backend(t *testing.T, name string, healthy *atomic.Bool) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == healthPath && !healthy.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		if r.URL.Path == "/cut" {
			panic(http.ErrAbortHandler)
		}
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %d", name, r.Header.Get("X-Vault-Token"), len(body))
	}))
	t.Cleanup(s.Close)
	return s
}

func ask(t *testing.T, url, body string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Vault-Token", "t")
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(text)
}

func TestSpread(t *testing.T) {
	t.Parallel()
	var one, two atomic.Bool
	one.Store(true)
	two.Store(true)
	a, b := backend(t, "one", &one), backend(t, "two", &two)
	p, err := New([]string{a.URL, b.URL}, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(p)
	t.Cleanup(s.Close)
	count := func() map[string]int {
		got := map[string]int{}
		for range 20 {
			code, text := ask(t, s.URL+"/v1/x", "body")
			if code != http.StatusOK {
				t.Fatalf("got %d %s", code, text)
			}
			got[text]++
		}
		return got
	}
	if got := count(); got["one t 4"] != 10 || got["two t 4"] != 10 {
		t.Errorf("both are healthy: %v", got)
	}
	two.Store(false)
	if _, err := p.Do(context.Background()); err != nil {
		t.Fatal(err)
	}
	if got := count(); got["one t 4"] != 20 {
		t.Errorf("two is not healthy: %v", got)
	}
	two.Store(true)
	if _, err := p.Do(context.Background()); err != nil {
		t.Fatal(err)
	}
	a.Close()
	if got := count(); got["two t 4"] != 20 {
		t.Errorf("one is gone and nobody has asked yet: %v", got)
	}
	if code, text := ask(t, s.URL+"/v1/x", strings.Repeat("x", 3*maxBody)); code != http.StatusOK || text != fmt.Sprintf("two t %d", 3*maxBody) {
		t.Errorf("a large body: got %d %s", code, text)
	}
	if code, _ := ask(t, s.URL+"/cut", "x"); code != http.StatusBadGateway {
		t.Errorf("what was received is sent again: got %d", code)
	}
	b.Close()
	if code, _ := ask(t, s.URL+"/v1/x", "x"); code != http.StatusBadGateway {
		t.Errorf("all are gone: got %d", code)
	}
}

// What was sent and not answered is the client's to repeat, a GET too, which
// issues: also where the connection had answered before.
func TestNothingIsSentTwice(t *testing.T) {
	t.Parallel()
	var got atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if got.Add(1); r.URL.Path == "/cut" {
			panic(http.ErrAbortHandler)
		}
	}))
	t.Cleanup(s.Close)
	p, err := New([]string{s.URL}, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	before := httptest.NewServer(p)
	t.Cleanup(before.Close)
	for _, method := range []string{http.MethodGet, "LIST", http.MethodPut, http.MethodHead, http.MethodDelete} {
		for _, c := range []struct {
			path string
			code int
		}{{"/well", http.StatusOK}, {"/cut", http.StatusBadGateway}} {
			got.Store(0)
			r, err := http.NewRequestWithContext(t.Context(), method, before.URL+c.path, http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			res, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			_ = res.Body.Close()
			if n := got.Load(); res.StatusCode != c.code || n != 1 {
				t.Errorf("%s %s: status %d, and it was sent %d times; want %d, once", method, c.path, res.StatusCode, n, c.code)
			}
		}
	}
}
