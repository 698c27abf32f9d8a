package request

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/secret"
)

// Law: a path that is taken means the same to every reader: no empty, dot or
// control element, and splitting it again gives what the client sent.
func FuzzPath(f *testing.F) {
	for _, seed := range []string{
		"/v1/database/creds/readonly", "/v1/", "/v1", "/v1//x", "/v1/a/../b", "/v1/a/./b", "/v1/a%2fb", "/v1/a%2Fb/", "/v1/a%00b",
		"/v1/sys/leases/lookup/", "/v1/a\\b", "/v1/a%5cb", "/v1/%ff", "/v1/a b", "/v1/ü/x", "/v1/a?b=c", "/v1/a%0ab", "/v1/...", "/v1/a%252fb",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		u, err := url.ParseRequestURI(raw)
		if err != nil || !strings.HasPrefix(u.Path, Root) {
			return
		}
		path, err := Path(u)
		if err != nil {
			return
		}
		if path == "" || len(path) > maxPath || !utf8.ValidString(path) || strings.ContainsFunc(path, unicode.IsControl) {
			t.Fatalf("%q was taken as %q", raw, path)
		}
		for e := range strings.SplitSeq(path, "/") {
			if e == "" || e == "." || e == ".." || strings.Contains(e, "\\") {
				t.Fatalf("%q was taken as %q", raw, path)
			}
		}
		// Escaped again and read back it is the same path.
		again, err := url.ParseRequestURI((&url.URL{Path: Root + path}).EscapedPath())
		if err != nil {
			t.Fatal(err)
		}
		if back, err := Path(again); err != nil || back != path {
			t.Fatalf("%q was taken as %q, and that as %q (%v)", raw, path, back, err)
		}
	})
}

// Law: any method, query and body gives a request with one of the four
// operations, or an error.
func FuzzRead(f *testing.F) {
	f.Add("GET", "list=true", "")
	f.Add("LIST", "after=x&limit=3", "")
	f.Add("PUT", "", `{"a":1}`)
	f.Add("GET", "list=perhaps", "")
	f.Add("PATCH", "", "")
	f.Add("GET", "a=1&a=2&limit=x", "")
	f.Add("GET", "help=1&list=perhaps", "")
	f.Fuzz(func(t *testing.T, method, query, body string) {
		h := httptest.NewRequest("GET", "/v1/x", strings.NewReader(body))
		h.Method, h.URL.RawQuery = method, query
		r, err := Read(h, "x")
		if r == nil {
			t.Fatal("no request to record")
		}
		if e := r.Event(http.StatusOK); len(e.Data.Fields) > 33 || e.Data.Path != "x" {
			t.Fatalf("event %+v", e)
		}
		if err != nil {
			return
		}
		switch r.Operation {
		case Help:
			return
		case engine.Read, engine.Write, engine.List, engine.Delete:
		default:
			t.Fatalf("operation %q", r.Operation)
		}
		if r.Data == nil || r.Limit < 0 {
			t.Fatalf("request %+v", r)
		}
	})
}

func TestOperations(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		method, query string
		want          engine.Operation
	}{
		{"PUT", "", engine.Write},
		{"POST", "", engine.Write},
		{"POST", "list=true", engine.Write},
		{"GET", "", engine.Read},
		{"GET", "list=false", engine.Read},
		{"GET", "list=true", engine.List},
		{"GET", "list=True", engine.List},
		{"LIST", "", engine.List},
		{"GET", "help=1", Help},
		{"GET", "help=1&list=true", Help},
		{"GET", "help=", engine.Read},
		{"PUT", "help=1", engine.Write},
		{"DELETE", "help=1", engine.Delete},
		{"DELETE", "", engine.Delete},
	} {
		h := httptest.NewRequest(c.method, "/v1/x?"+c.query, nil)
		r, err := Read(h, "x")
		if err != nil || r.Operation != c.want {
			t.Errorf("%s ?%s: %q %v, want %q", c.method, c.query, r.Operation, err, c.want)
		}
		if _, kept := r.Data["list"]; kept {
			t.Errorf("%s ?%s: list is taken for a value", c.method, c.query)
		}
	}
}

func TestLoggable(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"auth/token/revoke/hvs.CAESIJ0rFe1SR1Tkb9XLa":  "auth/token/revoke/hvs.[redacted]",
		"auth/token/lookup/s.JLNCjgBfAW0vfVWFKIoxSQ6X": "auth/token/lookup/s.[redacted]",
		"database/creds/s.short":                       "database/creds/s.short",
		"database/roles/v1.2.3-of-something":           "database/roles/v1.2.3-of-something",
	} {
		if got := Loggable(in); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

// The record of a request says which token asked, by the lease of the token and
// never by its text, and what was handed out; names are bounded.
func TestGranting(t *testing.T) {
	t.Parallel()
	r := &Request{
		Path: "database/creds/app", Mount: "database/", MountType: "database",
		Caller: Caller{
			Lease: lease.Lease{ID: "auth/token/create/h12"}, Text: secret.New("hvs.text"),
			Policies: append(make([]string, 40), strings.Repeat("x", 100)),
		},
	}
	e := r.Granting("database/creds/app/1", "v-user")
	d := e.Data
	if e.Type != event.RequestServed || d.Status != http.StatusOK || d.TokenID != "auth/token/create/h12" || d.MountType != "database" ||
		d.Granted != "database/creds/app/1" || d.Account != "v-user" || d.LeaseID != "" || len(d.Policies) != 33 {
		t.Errorf("the event is %+v", e)
	}
	if len(r.Caller.Policies) != 41 {
		t.Error("the request's own policies were cut")
	}
}
