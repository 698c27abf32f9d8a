package monitor

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/installation"
	"github.com/curfew-project/curfew/shared/publish"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/store/storetest"
)

// hang bounds what must happen some time; it decides nothing.
const hang = time.Minute

// serve serves a monitor; stop ends it and returns what Serve said.
func serve(t *testing.T, m *Monitor) (url string, stop func() error) {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- m.Serve(ctx, l) }()
	t.Cleanup(cancel)
	return "http://" + l.Addr().String(), func() error {
		cancel()
		select {
		case err := <-ended:
			return err
		case <-time.After(hang):
			return errors.New("it does not stop")
		}
	}
}

// get asks on a connection of its own.
func get(t *testing.T, url string) (code int, body string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Close = true
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

// A process lives while it answers; it is ready when every check says so, and
// names all that do not.
func TestLiveAndReady(t *testing.T) {
	t.Parallel()
	m := New("curfew-test", "1.2.3")
	url, stop := serve(t, m)
	if code, body := get(t, url+"/readyz"); code != 200 || body != "ok\n" {
		t.Errorf("without a check: %d %q", code, body)
	}
	var store, start atomic.Pointer[error]
	ask := func(p *atomic.Pointer[error]) func(context.Context) error {
		return func(context.Context) error {
			if err := p.Load(); err != nil {
				return *err
			}
			return nil
		}
	}
	m.Require(Check{Name: "store", Ask: ask(&store)})
	m.Require(Check{Name: "start", Ask: ask(&start)})
	away, waits := errors.New("it is away"), errors.New("it waits")
	for _, c := range []struct {
		store, start *error
		code         int
		body         string
	}{
		{nil, nil, 200, "ok\n"},
		{&away, nil, 503, "store: it is away\n"},
		{&away, &waits, 503, "store: it is away\nstart: it waits\n"},
		{nil, nil, 200, "ok\n"},
	} {
		store.Store(c.store)
		start.Store(c.start)
		if code, body := get(t, url+"/readyz"); code != c.code || body != c.body {
			t.Errorf("ready: %d %q, want %d %q", code, body, c.code, c.body)
		}
		if code, body := get(t, url+"/livez"); code != 200 || body != "ok\n" {
			t.Errorf("live: %d %q", code, body)
		}
	}
	if code, _ := get(t, url+"/"); code != 404 {
		t.Errorf("another path: %d", code)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

// Profiles are served where that is asked for, and what tells of the machine is
// not among them.
func TestProfilesAreAskedFor(t *testing.T) {
	t.Parallel()
	for _, asked := range []bool{false, true} {
		m := New("curfew-test", "1.2.3")
		want := 404
		if asked {
			m.Profile()
			want = 200
		}
		url, stop := serve(t, m)
		for _, path := range []string{"/debug/pprof/", "/debug/pprof/heap", "/debug/pprof/profile?seconds=1"} {
			if code, body := get(t, url+path); code != want || asked && body == "" {
				t.Errorf("asked for %t: %s is %d, want %d", asked, path, code, want)
			}
		}
		if code, _ := get(t, url+"/debug/pprof/cmdline"); code != 404 {
			t.Errorf("the command line is served: %d", code)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	}
}

// hung is a check that never answers by itself.
func hung(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

// Several checks that hang take the time of one.
func TestReadyIsBounded(t *testing.T) {
	t.Parallel()
	m := New("curfew-test", "1.2.3")
	m.Require(Check{Name: "one", Ask: hung})
	m.Require(Check{Name: "other", Ask: hung})
	url, stop := serve(t, m)
	if code, body := get(t, url+"/readyz"); code != 503 || body != "one: context deadline exceeded\nother: context deadline exceeded\n" {
		t.Errorf("ready: %d %q", code, body)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

// A stop waits for whoever is being answered, and not for who is silent.
func TestStops(t *testing.T) {
	t.Parallel()
	m := New("curfew-test", "1.2.3")
	entered, leave := make(chan struct{}), make(chan struct{})
	m.Require(Check{Name: "slow", Ask: func(context.Context) error {
		close(entered)
		<-leave
		return nil
	}})
	url, stop := serve(t, m)
	var d net.Dialer
	silent, err := d.DialContext(t.Context(), "tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	if _, err := silent.Write([]byte("GET /livez HTTP/1.1\r\n")); err != nil { // and nothing more
		t.Fatal(err)
	}
	answered := make(chan int, 1)
	go func() {
		code, _ := get(t, url+"/readyz")
		answered <- code
	}()
	<-entered
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	close(leave)
	if code := <-answered; code != 200 {
		t.Errorf("who was being answered got %d", code)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

// A listener that fails ends Serve with its error.
func TestServeFails(t *testing.T) {
	t.Parallel()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := New("curfew-test", "1.2.3").Serve(t.Context(), l); !errors.Is(err, net.ErrClosed) {
		t.Errorf("serve: %v", err)
	}
}

// scraped asks for metrics of Curfew's own: name and labels to value.
func scraped(t *testing.T, url string) map[string]string {
	t.Helper()
	code, body := get(t, url+"/metrics")
	if code != 200 {
		t.Fatalf("metrics: %d %s", code, body)
	}
	out := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^(curfew_\S+|go_goroutines|process_resident_memory_bytes) (\S+)$`).FindAllStringSubmatch(body, -1) {
		out[m[1]] = m[2]
	}
	return out
}

func want(t *testing.T, got map[string]string, want map[string]string) {
	t.Helper()
	for name, value := range want {
		if have, ok := got[name]; value == "" && ok || value != "" && have != value {
			t.Errorf("%s is %q, want %q", name, have, value)
		}
	}
}

// What the store says is in each scrape, as it is then.
func TestMetrics(t *testing.T) {
	t.Parallel()
	clock := storetest.NewClock()
	fake := storetest.NewFake(clock)
	m := New("curfew-test", "1.2.3")
	m.Register(Store(fake, clock))
	url, stop := serve(t, m)
	first := scraped(t, url)
	want(t, first, map[string]string{
		`curfew_build_info{program="curfew-test",version="1.2.3"}`: "1",
		"curfew_store_up": "1", "curfew_events_backlog": "0", "curfew_store_suspended": "0", "curfew_installation_doubted": "0",
		`curfew_ledger_position{epoch="0"}`: "0",
	})
	if first["go_goroutines"] == "" {
		t.Error("the process's own metrics are missing")
	}

	ctx := t.Context()
	now := clock.Now()
	check(t, installation.Beat(ctx, fake, installation.Process{Name: "a-1", Program: "curfew-issuer", Version: "1.2.4", Started: now, Seen: now, Skew: -1500 * time.Millisecond}))
	check(t, installation.Raise(ctx, fake, "a test"))
	check(t, fake.Append(ctx, event.Event{Type: event.LeaseRevoked}, event.Event{Type: event.LeaseRevoked}))
	lock, ok, err := fake.Acquire(ctx, publish.LockName, "test", time.Hour)
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	if _, _, err := fake.Number(ctx, lock, 10); err != nil {
		t.Fatal(err)
	}
	check(t, fake.Confirm(ctx, publish.Ledger, event.Position{Epoch: 1, Number: 2}))
	check(t, fake.Suspend(ctx, store.Suspension{Reason: "a test"}))
	want(t, scraped(t, url), map[string]string{
		"curfew_store_up": "1", "curfew_events_backlog": "3", "curfew_store_suspended": "1", "curfew_installation_doubted": "1",
		`curfew_ledger_position{epoch="1"}`:                                                            "2",
		`curfew_clock_skew_seconds{process="a-1",program="curfew-issuer",version="1.2.4"}`:             "-1.5",
		`curfew_process_seen_timestamp_seconds{process="a-1",program="curfew-issuer",version="1.2.4"}`: "1.893553445e+09",
	})
	if err := stop(); err != nil {
		t.Error(err)
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// What could not be asked is left out, the rest is told, and curfew_store_up
// says so.
func TestMetricsWithoutTheStore(t *testing.T) {
	t.Parallel()
	for method, missing := range map[string]string{
		"Backlog": "curfew_events_backlog", "Confirmed": `curfew_ledger_position{epoch="0"}`,
		"Suspension": "curfew_store_suspended", "Entry": "curfew_installation_doubted", "List": "",
	} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			faulty := storetest.NewFaulty(storetest.NewFake(storetest.NewClock()), storetest.Fault{Method: method})
			m := New("curfew-test", "1.2.3")
			m.Register(Store(faulty, storetest.NewClock()))
			url, stop := serve(t, m)
			got := scraped(t, url)
			want(t, got, map[string]string{"curfew_store_up": "0", missing: ""})
			if len(got) < 7 {
				t.Errorf("the rest is missing: %v", got)
			}
			faulty.Break()
			want(t, scraped(t, url), map[string]string{"curfew_store_up": "1"})
			if err := stop(); err != nil {
				t.Error(err)
			}
		})
	}
}

// silent is a store that answers nothing.
type silent struct{ *storetest.Fake }

func (silent) Backlog(ctx context.Context) (int64, error) { return 0, hung(ctx) }

func (silent) Suspension(ctx context.Context) (store.Suspension, bool, error) {
	return store.Suspension{}, false, hung(ctx)
}

func (silent) Confirmed(ctx context.Context, _ string) (event.Position, error) {
	return event.Position{}, hung(ctx)
}

// A store that is silent costs a scrape the time of one question, not of all,
// and takes no metric of the process away.
func TestMetricsOfASilentStore(t *testing.T) {
	t.Parallel()
	m := New("curfew-test", "1.2.3")
	m.Register(Store(silent{storetest.NewFake(storetest.NewClock())}, storetest.NewClock()))
	url, stop := serve(t, m)
	got := scraped(t, url)
	want(t, got, map[string]string{"curfew_store_up": "0", "curfew_events_backlog": "", `curfew_build_info{program="curfew-test",version="1.2.3"}`: "1"})
	if got["go_goroutines"] == "" {
		t.Error("the process's own metrics are missing")
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}
