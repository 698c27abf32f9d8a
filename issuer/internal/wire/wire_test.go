package wire

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/secret"
)

// Law: bytes of a client become a map or an error with status 400; never a
// panic, never neither.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{"", "null", "{}", `{"a":1}`, `{bad`, `[1]`, `{"a":1}{"b":2}`, `{"a":1} trailing`, "\x00", `{"a":{"b":[1,"2",null]}}`, `{"a"`, `"text"`, `1e999`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		data, err := Decode(strings.NewReader(body))
		if err == nil {
			if data == nil {
				t.Fatalf("%q: neither data nor error", body)
			}
			if strings.TrimSpace(body) != "" && !json.Valid([]byte(body)) {
				t.Fatalf("%q is no JSON and was taken", body)
			}
			return
		}
		w, ok := errors.AsType[*Error](err)
		if !ok || w.Status != http.StatusBadRequest || data != nil || !strings.HasPrefix(w.Error(), "failed to decode JSON input: ") {
			t.Fatalf("%q: %v %v", body, data, err)
		}
	})
}

// Law: every value of every field is read or refused by name; what is read as a
// duration is within bounds.
func FuzzFields(f *testing.F) {
	for _, seed := range []string{`{"a":"1h"}`, `{"a":3600}`, `{"a":"2d"}`, `{"a":-1}`, `{"a":[1]}`, `{"a":{"b":1}}`, `{"a":true}`, `{"a":1e400}`, `{"a":"9223372036854775807"}`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		data, err := Decode(strings.NewReader(body))
		if err != nil {
			return
		}
		fields := Fields(data)
		for name := range data {
			d, err := fields.Duration(name)
			if d < 0 || d > maxDuration || err != nil && d != 0 {
				t.Fatalf("duration of %v: %s %v", data[name], d, err)
			}
			_, errBool := fields.Bool(name, true)
			_, errStrings := fields.Strings(name)
			_, errMap := fields.StringMap(name)
			_, errObject := fields.Object(name)
			n, errInt := fields.Int(name)
			if n < 0 {
				t.Fatalf("number of %v: %d", data[name], n)
			}
			for _, err := range []error{err, errBool, errStrings, errMap, errObject, errInt} {
				if w, ok := errors.AsType[*Error](err); err != nil && (!ok || w.Status != http.StatusBadRequest) {
					t.Fatalf("%v: %v", data[name], err)
				}
			}
		}
	})
}

// Law: what is printed as stock clients print it is read as the same duration.
func TestParseDurationInvertsShort(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		d := time.Duration(rapid.Int64Range(0, int64(maxDuration/time.Second)).Draw(t, "seconds")) * time.Second
		for _, text := range []string{lease.Short(d), d.String(), strconv.FormatInt(int64(d/time.Second), 10)} {
			if got, err := ParseDuration(text); err != nil || got != d {
				t.Fatalf("%q: %s %v, want %s", text, got, err, d)
			}
		}
	})
}

// Law: an envelope always has all of its keys, in order, whatever is in it.
func TestEnvelopeIsComplete(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.String()
		a := &Answer{
			LeaseID: text.Draw(t, "lease"), Renewable: rapid.Bool().Draw(t, "renewable"),
			Duration: time.Duration(rapid.Int64().Draw(t, "duration")),
			Warnings: rapid.SliceOf(text).Draw(t, "warnings"), Doubled: rapid.Bool().Draw(t, "doubled"),
		}
		for k, v := range rapid.MapOf(rapid.StringMatching(`[a-z/<>&]{1,8}/`), text).Draw(t, "data") {
			if a.Data == nil {
				a.Data = map[string]any{}
			}
			a.Data[k] = v
		}
		if rapid.Bool().Draw(t, "auth") {
			a.Auth = &Auth{Token: secret.New(text.Draw(t, "token")), Policies: []string{"default"}}
		}
		body, err := a.Body("id")
		if err != nil || !json.Valid(body) || body[len(body)-1] != '\n' {
			t.Fatalf("body %q: %v", body, err)
		}
		keys := topLevel(t, body)
		want := []string{"request_id", "lease_id", "renewable", "lease_duration", "data", "wrap_info", "warnings", "auth"}
		if len(keys) < len(want) || !slices.Equal(keys[len(keys)-len(want):], want) {
			t.Fatalf("keys %q", keys)
		}
		if doubled := len(keys) - len(want); a.Doubled && doubled != len(a.Data) || !a.Doubled && doubled != 0 {
			t.Fatalf("%d keys beside the envelope's, doubled %t of %d", doubled, a.Doubled, len(a.Data))
		}
	})
}

// topLevel are the keys of a JSON object, in order.
func topLevel(t *rapid.T, body []byte) (keys []string) {
	d := json.NewDecoder(strings.NewReader(string(body)))
	if _, err := d.Token(); err != nil {
		t.Fatal(err)
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, key.(string))
		var skip json.RawMessage
		if err := d.Decode(&skip); err != nil {
			t.Fatal(err)
		}
	}
	return keys
}

func TestListed(t *testing.T) {
	t.Parallel()
	if got := Unlisted(Listed("x")); got != "x" {
		t.Errorf("%q", got)
	}
	if got := Unlisted("x"); got != "x" {
		t.Errorf("%q", got)
	}
}
