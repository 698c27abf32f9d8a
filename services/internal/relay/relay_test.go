package relay

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"
)

var key = []byte("0123456789abcdef0123456789abcdef")

// auditor answers with its name and what it was asked.
func auditor(t *testing.T, name string, key []byte) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(Guard(key, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, h := range []string{header, "X-Vault-Token", "Authorization"} {
			if v := r.Header.Get(h); v != "" {
				t.Errorf("the auditor was given %s", h)
			}
		}
		if r.URL.Path == "/v1/audit/stream" {
			for i := range 3 {
				fmt.Fprintf(w, "data: %d\n\n", i)
				_ = http.NewResponseController(w).Flush()
			}
			<-r.Context().Done()
			return
		}
		fmt.Fprint(w, name, " ", r.URL.RequestURI(), " ", r.Header.Get("Last-Event-ID"))
	})))
	t.Cleanup(s.Close)
	return s
}

func issuer(t *testing.T, auditors ...string) *httptest.Server {
	t.Helper()
	h, err := To(auditors, key, &http.Transport{}, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Vault-Token", "hvs.secret")
	r.Header.Set("Authorization", "Bearer secret")
	r.Header.Set("Last-Event-ID", "1-7")
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

func TestPassedOn(t *testing.T) {
	t.Parallel()
	one, two := auditor(t, "one", key), auditor(t, "two", key)
	s := issuer(t, one.URL, two.URL)
	const path = "/v1/audit/entries?lease=a%2Fb&limit=3"
	for range 3 {
		if code, body := get(t, s.URL+path); code != http.StatusOK || body != "one "+path+" 1-7" {
			t.Errorf("got %d %q", code, body)
		}
	}
	one.Close()
	for range 3 {
		if code, body := get(t, s.URL+path); code != http.StatusOK || body != "two "+path+" 1-7" {
			t.Errorf("one is away: got %d %q", code, body)
		}
	}
	two.Close()
	if code, body := get(t, s.URL+path); code != http.StatusServiceUnavailable || !strings.Contains(body, "no auditor answers") {
		t.Errorf("both are away: got %d %q", code, body)
	}
}

// One that takes connections and says nothing is passed over.
func TestAuditorHangs(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	hanging := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		<-r.Context().Done()
	}))
	t.Cleanup(hanging.Close)
	transport, err := Transport("")
	if err != nil {
		t.Fatal(err)
	}
	bounded, ok := transport.(*http.Transport)
	if !ok || bounded.ResponseHeaderTimeout != headWithin {
		t.Fatalf("the transport to auditors is %+v", transport)
	}
	bounded.ResponseHeaderTimeout = 3 * time.Second
	h, err := To([]string{hanging.URL, auditor(t, "two", key).URL}, key, bounded, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	for range 3 {
		if code, body := get(t, s.URL+"/v1/audit/entries"); code != http.StatusOK || !strings.HasPrefix(body, "two ") {
			t.Errorf("got %d %q", code, body)
		}
	}
	if n := asked.Load(); n != 1 {
		t.Errorf("the one that hangs was asked %d times", n)
	}
}

func TestStreamIsNotHeldBack(t *testing.T) {
	t.Parallel()
	s := issuer(t, auditor(t, "one", key).URL)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+"/v1/audit/stream", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	buf := make([]byte, len("data: 0\n\n")*3)
	if _, err := io.ReadFull(res.Body, buf); err != nil || !strings.HasSuffix(string(buf), "data: 2\n\n") {
		t.Errorf("read %q, %v", buf, err)
	}
}

func TestOnlyTheInstallation(t *testing.T) {
	t.Parallel()
	a := auditor(t, "one", key)
	for name, given := range map[string]string{"none": "", "not hex": "x", "short": "30", "another": strings.Repeat("00", len(key))} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, a.URL+"/v1/audit/entries", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set(header, given)
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s: got %d", name, res.StatusCode)
		}
	}
	other := issuer(t, auditor(t, "other", []byte("another key")).URL)
	if code, body := get(t, other.URL+"/v1/audit/entries"); code != http.StatusServiceUnavailable {
		t.Errorf("an auditor of another installation: got %d %q", code, body)
	}
	if code, _ := get(t, issuer(t).URL+"/v1/audit/entries"); code != http.StatusServiceUnavailable {
		t.Errorf("no auditor: got %d", code)
	}
}
