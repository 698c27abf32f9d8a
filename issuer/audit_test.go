package issuer_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/curfew-project/curfew/shared/device"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/store/storetest"
)

// auditor stands for the auditor: it answers for each device that is being
// enabled, refusing the paths below /no.
func (w *world) auditor() {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	var wg sync.WaitGroup
	w.t.Cleanup(func() { cancel(); wg.Wait() })
	wg.Go(func() {
		for ctx.Err() == nil {
			entries, err := w.fake.List(ctx, store.KindAudit, "", "", false, 0)
			for _, e := range entries {
				d, bad := device.Decode(e)
				if err != nil || bad != nil || d.State != device.Enabling {
					continue
				}
				if d.State = device.Active; strings.HasPrefix(d.Options["file_path"], "/no/") {
					d.State, d.Reason = device.Refused, fmt.Sprintf("unable to open %q for writing: no", d.Options["file_path"])
				}
				if e, err = device.Put(e, d); err == nil {
					_, _ = w.fake.Write(ctx, store.Write{Puts: []store.Entry{e}})
				}
			}
			time.Sleep(5 * time.Millisecond)
		}
	})
}

// device is the stored device of a path.
func (w *world) device(path string) (store.Entry, device.Device) {
	w.t.Helper()
	e, err := w.fake.Entry(w.t.Context(), store.KindAudit, path)
	must(w.t, err)
	d, err := device.Decode(e)
	must(w.t, err)
	return e, d
}

func enabling(options string) string {
	return `{"type":"file","description":"for the SIEM","local":false,"options":` + options + `}`
}

// Enabling, listing, reading and disabling, as stock clients do it.
func TestAuditDevices(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.auditor()
	if empty := w.ok(w.do("GET", "sys/audit", ""), 200).envelope(t); len(empty.Data) > 0 {
		t.Errorf("before: %v", empty.Data)
	}
	w.ok(w.do("PUT", "sys/audit/file", enabling(`{"file_path":"/a","mode":"0640"}`)), 204)
	r := w.ok(w.do("GET", "sys/audit", ""), 200)
	want := `"file/":{"description":"for the SIEM","local":false,"options":{"file_path":"/a","mode":"0640"},"path":"file/","type":"file"}`
	if strings.Count(r.body, want) != 2 || !strings.Contains(r.body, `"warnings":null`) {
		t.Errorf("the list is %s", r.body)
	}
	one := w.ok(w.do("GET", "sys/audit/file", ""), 200).envelope(t).Data
	if one["state"] != "writing" || one["error"] != "" || one["path"] != "file/" {
		t.Errorf("the device is %v", one)
	}
	_, d := w.device("file/")
	if strings.Contains(string(d.Key), "key of") || d.Until.IsZero() {
		t.Errorf("stored as %+v", d)
	}
	w.ok(w.do("DELETE", "sys/audit/file", ""), 204)
	w.ok(w.do("DELETE", "sys/audit/file", ""), 204)
	w.ok(w.do("GET", "sys/audit/file", ""), 404)
	var subjects []string
	for _, e := range w.events(event.ConfigChanged) {
		if strings.HasPrefix(e.Subject, "sys/audit/") {
			subjects = append(subjects, e.Subject+" "+e.Data.Operation)
		}
	}
	if got := strings.Join(subjects, ", "); got != "sys/audit/file/ write, sys/audit/file/ delete" {
		t.Errorf("on record are %s", got)
	}
}

// What is refused says why, and leaves nothing.
func TestAuditRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.auditor()
	w.ok(w.do("PUT", "sys/audit/a/b", enabling(`{"file_path":"/a"}`)), 204)
	for _, c := range []struct{ path, body, text string }{
		{"a/b", enabling(`{"file_path":"/b"}`), "path already in use"},
		{"a", enabling(`{"file_path":"/b"}`), "path already in use"},
		{"a/b/c", enabling(`{"file_path":"/b"}`), "path already in use"},
		{"x", enabling(`{"file_path":"/no/b"}`), `sanity check failed; unable to open \"/no/b\" for writing: no`},
		{"x", enabling(`{}`), "file_path is required"},
		{"x", enabling(`{"file_path":"/b","mode":"0700"}`), "executable"},
		{"x", enabling(`{"file_path":"/b","prefix":"x"}`), "prefix is not supported"},
		{"x", enabling(`{"file_path":"/b","log_raw":"true"}`), "log_raw is refused"},
		{"x", `{"type":"syslog"}`, `unknown backend type: \"syslog\"`},
		{"x", `{}`, `unknown backend type: \"\"`},
		{"x", `{"type":"file","options":["file_path"]}`, `error converting input for field \"options\"`},
		{"1/2/3/4/5/6/7/8/9", enabling(`{"file_path":"/b"}`), "more than 8 elements"},
	} {
		r := w.ok(w.do("PUT", "sys/audit/"+c.path, c.body), 400)
		if !strings.Contains(r.body, c.text) {
			t.Errorf("%s %s: %s, want %q", c.path, c.body, r.body, c.text)
		}
	}
	entries, err := w.fake.List(t.Context(), store.KindAudit, "", "", false, 0)
	if err != nil || len(entries) != 1 {
		t.Errorf("%d entries are left, %v", len(entries), err)
	}
	for n := range device.Most - 1 {
		w.ok(w.do("PUT", fmt.Sprintf("sys/audit/n%d", n), enabling(`{"file_path":"/b"}`)), 204)
	}
	w.refused(w.do("PUT", "sys/audit/more", enabling(`{"file_path":"/b"}`)), 400, "there are 16 audit devices already: disable one first")
}

// Without an auditor the answer is a 503 that says so, and the path is free again;
// an answer that comes at the last moment counts.
func TestAuditWithoutAuditor(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.ok(w.do("PUT", "sys/audit/file", enabling(`{"file_path":"/a"}`)), 503)
	if !strings.Contains(r.body, "no auditor opened the file") || r.header.Get("Retry-After") == "" {
		t.Errorf("%v %s", r.header, r.body)
	}
	if _, err := w.fake.Entry(t.Context(), store.KindAudit, "file/"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the entry is left: %v", err)
	}
	w.auditor()
	w.ok(w.do("PUT", "sys/audit/file", enabling(`{"file_path":"/a"}`)), 204)
}

// What an issuer left behind that died is in nobody's way once its time is up.
func TestAuditLeftBehind(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	put := func(key string, state device.State) {
		e, err := device.Put(store.Entry{Key: key}, device.Device{Type: "file", State: state, Until: w.clock.Now().Add(device.EnableWithin)})
		must(t, err)
		_, err = w.fake.Write(t.Context(), store.Write{Puts: []store.Entry{e}})
		must(t, err)
	}
	put("refused/", device.Refused)
	put("asked/", device.Enabling)
	if l := w.ok(w.do("GET", "sys/audit", ""), 200).envelope(t); len(l.Data) > 0 {
		t.Errorf("listed are %v", l.Data)
	}
	w.refused(w.do("PUT", "sys/audit/asked", enabling(`{"file_path":"/a"}`)), 400, "path already in use")
	w.clock.Advance(3 * device.EnableWithin)
	w.auditor()
	w.ok(w.do("PUT", "sys/audit/refused", enabling(`{"file_path":"/a"}`)), 204)
}

// The store fails at each step of an enabling, in both ways: what is answered is
// what is so, and nothing is left in the way.
func TestAuditStoreFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.auditor()
	for _, fault := range []storetest.Fault{
		{Method: "Now", Nth: 1},
		{Method: "Entry", Nth: 3},
		{Method: "List", Nth: 1},
		{Method: "EntryByID", Nth: 1},
		{Method: "Write", Nth: 1},
		{Method: "Write", Nth: 1, Done: true},
	} {
		w.store.Break(fault)
		r := w.do("PUT", "sys/audit/file", enabling(`{"file_path":"/a"}`))
		w.store.Break()
		listed := strings.Contains(w.ok(w.do("GET", "sys/audit", ""), 200).body, `"file/"`)
		switch {
		case r.code == 204 && !listed:
			t.Errorf("%+v: it succeeded and is not there", fault)
		case r.code == 400:
			t.Errorf("%+v: %s", fault, r.body)
		case r.code != 204 && listed && !fault.Done:
			t.Errorf("%+v: it failed with %d and is there", fault, r.code)
		}
		w.ok(w.do("DELETE", "sys/audit/file", ""), 204)
	}
}

// The hash of a value, and of a token by what stands for it on record, is that of
// the device's lines; another device has others.
func TestAuditHash(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.auditor()
	for _, name := range []string{"one", "two"} {
		w.ok(w.do("PUT", "sys/audit/"+name, enabling(`{"file_path":"/a"}`)), 204)
	}
	hash := func(path, input string) string {
		t.Helper()
		text, _ := w.ok(w.do("POST", "sys/audit-hash/"+path, `{"input":"`+input+`"}`), 200).envelope(t).Data["hash"].(string)
		return text
	}
	e, d := w.device("one/")
	key, err := w.seal.Open(d.Key, device.Sealing(e.ID))
	must(t, err)
	h := device.NewHasher(key)
	if got := hash("one", "v-user"); got != h.Hash("v-user") || !strings.HasPrefix(got, "hmac-sha256:") || got == hash("two", "v-user") {
		t.Errorf("the hash is %s", got)
	}
	app := w.token(`{"ttl":"1h"}`).Auth
	made := w.events(event.TokenCreated)
	if got, want := hash("one", app.ClientToken), h.Hash(device.TokenMark(made[len(made)-1].Data.LeaseID)); got != want {
		t.Errorf("the hash of a token is %s, want %s", got, want)
	}
	served := w.events(event.RequestServed)
	var granted bool
	for _, e := range served {
		granted = granted || e.Data.Granted == made[len(made)-1].Data.LeaseID && e.Data.Account == app.Accessor
	}
	if !granted {
		t.Error("no request says that it granted the token")
	}
	ended := hash("one", "hvs.a-token-that-is-gone")
	if ended == h.Hash("hvs.a-token-that-is-gone") {
		t.Error("the text of a token is hashed by itself")
	}
	w.refused(w.do("POST", "sys/audit-hash/none", `{"input":"x"}`), 400, `unknown audit backend: "none/"`)
	w.refused(w.do("POST", "sys/audit-hash/one", `{}`), 400, `the "input" parameter is empty`)
}

// A device that does not write is listed with a warning.
func TestAuditWarns(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.auditor()
	w.ok(w.do("PUT", "sys/audit/file", enabling(`{"file_path":"/a"}`)), 204)
	e, d := w.device("file/")
	d.Trouble, d.Since = "write: no space left on device", w.clock.Now()
	e, err := device.Put(e, d)
	must(t, err)
	_, err = w.fake.Write(t.Context(), store.Write{Puts: []store.Entry{e}})
	must(t, err)
	l := w.ok(w.do("GET", "sys/audit", ""), 200).envelope(t)
	if len(l.Warnings) != 1 || !strings.Contains(l.Warnings[0], "file/ does not write since 2030-01-02") || !strings.Contains(l.Warnings[0], "no space left") {
		t.Errorf("the warnings are %q", l.Warnings)
	}
	if one := w.ok(w.do("GET", "sys/audit/file", ""), 200).envelope(t).Data; one["state"] != "failing" || one["error"] != d.Trouble {
		t.Errorf("the device is %v", one)
	}
}
