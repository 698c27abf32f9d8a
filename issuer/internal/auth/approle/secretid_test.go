package approle_test

import (
	"encoding/base64"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/curfew-project/curfew/issuer/internal/auth/approle"
	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/store"
)

func TestSecretIDLookup(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.app(`{"secret_id_num_uses":3}`)
	text, accessor := w.secret(`{"ttl":"90s","cidr_list":"192.0.2.0/24","metadata":"{\"a\":\"b\"}"}`)
	start := w.clock.Now().UTC()
	want := map[string]any{
		"secret_id_accessor": accessor, "secret_id_num_uses": 3, "secret_id_ttl": int64(90),
		"creation_time": start.Format(time.RFC3339Nano), "last_updated_time": start.Format(time.RFC3339Nano),
		"expiration_time": start.Add(90 * time.Second).Format(time.RFC3339Nano),
		"metadata":        map[string]string{"a": "b"}, "cidr_list": []string{"192.0.2.0/24"}, "token_bound_cidrs": []string{},
	}
	for path, body := range map[string]string{
		"secret-id/lookup":          `{"secret_id":"` + text + `"}`,
		"secret-id-accessor/lookup": `{"secret_id_accessor":"` + accessor + `"}`,
	} {
		if got := w.ok(w.write("role/app/"+path, body)).Data; !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\n%v, want\n%v", path, got, want)
		}
	}
	if a := w.ok(w.write("role/app/secret-id/lookup", `{"secret_id":"nope"}`)); a.Code() != 204 {
		t.Errorf("unknown: %d", a.Code())
	}
	if got := w.ok(w.do(engine.List, "role/app/secret-id", "")).Data["keys"]; !reflect.DeepEqual(got, []string{accessor}) {
		t.Errorf("accessors %v", got)
	}
}

func TestMetadata(t *testing.T) {
	t.Parallel()
	object := `{"a":"b","c":"d"}`
	want := map[string]string{"a": "b", "c": "d"}
	w := newWorld(t)
	w.app(`{}`)
	for _, body := range []string{
		`{"metadata":` + object + `}`, `{"metadata":"{\"a\":\"b\",\"c\":\"d\"}"}`, `{"metadata":"a=b, c=d"}`,
		`{"metadata":"` + base64.StdEncoding.EncodeToString([]byte(object)) + `"}`,
	} {
		_, accessor := w.secret(body)
		got := w.ok(w.write("role/app/secret-id-accessor/lookup", `{"secret_id_accessor":"`+accessor+`"}`)).Data["metadata"]
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v", body, got)
		}
	}
}

// The metadata of a secret id cannot take another role's name.
func TestRoleNameWins(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.app(`{}`)
	text, _ := w.secret(`{"metadata":"role_name=other"}`)
	if in, err := w.login(id, text); err != nil || in.Meta["role_name"] != "app" {
		t.Errorf("metadata %v %v", in.Meta, err)
	}
}

func TestDestroy(t *testing.T) {
	t.Parallel()
	for name, destroy := range map[string]struct {
		op             engine.Operation
		path, by, text string
	}{
		"post":          {engine.Write, "secret-id/destroy", "secret_id", "s"},
		"delete":        {engine.Delete, "secret-id/destroy", "secret_id", "s"},
		"accessor":      {engine.Write, "secret-id-accessor/destroy", "secret_id_accessor", "a"},
		"accessor, del": {engine.Delete, "secret-id-accessor/destroy", "secret_id_accessor", "a"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			id := w.app(`{}`)
			text, accessor := w.secret(``)
			other, _ := w.secret(``)
			value := map[string]string{"s": text, "a": accessor}[destroy.text]
			w.ok(w.do(destroy.op, "role/app/"+destroy.path, `{"`+destroy.by+`":"`+value+`"}`))
			_, err := w.login(id, text)
			w.refused(err, 400, "invalid role or secret ID")
			if _, err := w.login(id, other); err != nil {
				t.Errorf("its neighbour: %v", err)
			}
			if a := w.ok(w.write("role/app/secret-id/destroy", `{"secret_id":"`+text+`"}`)); a.Code() != 204 {
				t.Errorf("again: %d", a.Code())
			}
		})
	}
}

func TestCustomSecretID(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.app(`{}`)
	body := `{"secret_id":"chosen by a person"}`
	w.ok(w.write("role/app/custom-secret-id", body))
	_, err := w.write("role/app/custom-secret-id", body)
	w.refused(err, 400, "already registered")
	w.ok(w.write("role/app/secret-id/destroy", body))
	w.ok(w.write("role/app/custom-secret-id", body))
	if _, err := w.login(id, " chosen by a person "); err != nil { // stock servers trim at a login
		t.Error(err)
	}
	w.ok(w.write("role/second", `{"role_id":"second"}`))
	_, err = w.login("second", "chosen by a person")
	w.refused(err, 400, "invalid role or secret ID")
	w.ok(w.write("role/second/custom-secret-id", body)) // each role has its own
}

// Law: of m logins with a secret id of n uses, min(n, m) succeed, and it says
// how many are left.
func TestUses(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(t)
		id := w.app(`{}`)
		n, m := rapid.IntRange(1, 6).Draw(rt, "uses"), rapid.IntRange(0, 9).Draw(rt, "logins")
		text, accessor := w.secret(`{"num_uses":` + string(rune('0'+n)) + `}`)
		done := 0
		for range m {
			if _, err := w.login(id, text); err == nil {
				done++
			} else {
				w.refused(err, 400, "invalid role or secret ID")
			}
		}
		if done != min(n, m) {
			rt.Fatalf("%d of %d logins with %d uses", done, m, n)
		}
		a, err := w.write("role/app/secret-id-accessor/lookup", `{"secret_id_accessor":"`+accessor+`"}`)
		if left := n - done; left > 0 && (err != nil || a.Data["secret_id_num_uses"] != left) || left == 0 && err == nil {
			rt.Fatalf("%d left: %v %v", left, a, err)
		}
		if w.count(store.KindLockout) != 0 {
			rt.Fatal("who presents a used secret id is taken for one that guesses")
		}
	})
}

// Of 1,000 simultaneous logins with one use, over two issuers, one succeeds,
// and the others lock nobody out.
func TestOneUseOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.app(`{}`)
	text, _ := w.secret(`{"num_uses":1}`)
	first := w.table
	w.start(keyring{"first"})
	second := w.table
	body := `{"role_id":"` + id + `","secret_id":"` + text + `"}`
	var won atomic.Int64
	var wg sync.WaitGroup
	for i := range 1000 {
		table := first
		if i%2 == 0 {
			table = second
		}
		r := w.request(engine.Write, "auth/approle/login", body)
		wg.Go(func() {
			if _, err := table.Login(t.Context(), r); err == nil {
				won.Add(1)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 || w.count(store.KindLockout) != 0 {
		t.Errorf("%d logins with one use, %d counts of failures", won.Load(), w.count(store.KindLockout))
	}
}

// Simultaneous logins never take more uses than there are, and each that is
// told to succeed took one.
func TestManyUses(t *testing.T) {
	t.Parallel()
	const uses, logins = 8, 64
	w := newWorld(t)
	id := w.app(`{}`)
	text, accessor := w.secret(`{"num_uses":8}`)
	var won atomic.Int64
	var wg sync.WaitGroup
	for range logins {
		r := w.request(engine.Write, "auth/approle/login", `{"role_id":"`+id+`","secret_id":"`+text+`"}`)
		wg.Go(func() {
			if _, err := w.table.Login(t.Context(), r); err == nil {
				won.Add(1)
			}
		})
	}
	wg.Wait()
	left := 0
	if a, err := w.write("role/app/secret-id-accessor/lookup", `{"secret_id_accessor":"`+accessor+`"}`); err == nil {
		left = a.Data["secret_id_num_uses"].(int)
	}
	if won.Load()+int64(left) != uses {
		t.Errorf("%d logins and %d uses left of %d", won.Load(), left, uses)
	}
}

func TestExpiry(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.app(`{"secret_id_ttl":"10m"}`)
	text, accessor := w.secret(``)
	w.clock.Advance(10*time.Minute - 1)
	if _, err := w.login(id, text); err != nil {
		t.Fatal(err)
	}
	w.clock.Advance(1)
	_, err := w.do(engine.List, "role/app/secret-id", "")
	w.refused(err, 404, "")
	for range 8 { // a program that does not know better locks nobody out
		_, err := w.login(id, text)
		w.refused(err, 400, "invalid role or secret ID")
	}
	_, err = w.write("role/app/secret-id-accessor/lookup", `{"secret_id_accessor":"`+accessor+`"}`)
	w.refused(err, 404, "")
	w.ok(w.write("tidy/secret-id", ``))
	if w.count(store.KindSecretID) != 1 {
		t.Error("what has just ended is forgotten")
	}
	w.clock.Advance(approle.KeepDead)
	w.secret(``)
	w.ok(w.write("tidy/secret-id", ``))
	if n := w.count(store.KindSecretID); n != 1 {
		t.Errorf("%d secret ids, want the new one", n)
	}
}

// One that expired and was never presented again goes too.
func TestTidyUntouched(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.app(`{"secret_id_ttl":"10m"}`)
	w.secret(``)
	w.clock.Advance(10*time.Minute + approle.KeepDead)
	if err := w.table.Tidy(t.Context()); err != nil || w.count(store.KindSecretID) != 0 {
		t.Errorf("%d secret ids, %v", w.count(store.KindSecretID), err)
	}
}

func TestCIDRs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.app(`{"secret_id_bound_cidrs":"192.0.2.0/24,2001:db8::/32","token_bound_cidrs":"192.0.2.0/24"}`)
	text, _ := w.secret(`{"cidr_list":"192.0.2.0/25","token_bound_cidrs":"192.0.2.7"}`)
	wide, _ := w.secret(``)
	for _, c := range []struct {
		from, text string
		ok         bool
	}{
		{"192.0.2.7", text, true},
		{"::ffff:192.0.2.7", text, true},
		{"192.0.2.200", text, false},
		{"192.0.2.200", wide, true},
		{"2001:db8::1", wide, true},
		{"2001:db9::1", wide, false},
		{"", wide, false},
		{"not an address", wide, false},
	} {
		w.from = c.from
		in, err := w.login(id, c.text)
		if (err == nil) != c.ok {
			t.Errorf("from %q: %v", c.from, err)
		}
		if err != nil {
			w.refused(err, 400, "unauthorized by CIDR")
		} else if want := map[bool]string{true: "192.0.2.7", false: "192.0.2.0/24"}[c.text == text]; !slices.Equal(in.BoundCIDRs, []string{want}) {
			t.Errorf("token bound to %v", in.BoundCIDRs)
		}
	}
	w.from = "198.51.100.1"
	counted, _ := w.secret(`{"num_uses":1}`)
	_, err := w.login(id, counted)
	w.refused(err, 400, "unauthorized")
	w.from = "192.0.2.7"
	if _, err := w.login(id, counted); err != nil {
		t.Errorf("a refusal by address took the use: %v", err)
	}
}

func TestLockout(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.app(`{}`)
	text, _ := w.secret(``)
	fail := func(n int) {
		for range n {
			_, err := w.login(id, "guess")
			w.refused(err, 400, "invalid role or secret ID")
		}
	}
	fail(4)
	if _, err := w.login(id, text); err != nil {
		t.Fatal(err)
	}
	fail(5) // the four are forgotten
	w.start(keyring{"first"})
	for _, s := range []string{text, "guess"} {
		_, err := w.login(id, s)
		w.refused(err, 403, "permission denied")
	}
	w.ok(w.write("role/other", `{"role_id":"other"}`))
	s := w.ok(w.write("role/other/secret-id", ``)).Data["secret_id"].(string)
	if _, err := w.login("other", s); err != nil {
		t.Errorf("another role: %v", err)
	}
	w.clock.Advance(15 * time.Minute)
	if _, err := w.login(id, text); err != nil {
		t.Errorf("after the lock: %v", err)
	}
	for range 50 {
		_, err := w.login("no such role", "guess")
		w.refused(err, 400, "")
	}
	if n := w.count(store.KindLockout); n != 0 {
		t.Errorf("%d counts: who guesses fills the store", n)
	}
}

// After the master key changed, secret ids from before work on, once each.
func TestMasterKeyChanges(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.app(`{}`)
	w.ok(w.write("role/app/custom-secret-id", `{"secret_id":"old","num_uses":1}`))
	w.start(keyring{"second", "first"})
	_, err := w.write("role/app/custom-secret-id", `{"secret_id":"old"}`)
	w.refused(err, 400, "already registered")
	if _, err := w.login(id, "old"); err != nil {
		t.Error(err)
	}
	_, err = w.login(id, "old")
	w.refused(err, 400, "invalid")
	text, _ := w.secret(``)
	w.start(keyring{"third"})
	_, err = w.login(id, text)
	w.refused(err, 400, "invalid")
}

// No secret id is in what the store, the events, the log and errors hold.
func TestNoSecretIsKept(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.app(`{}`)
	text, accessor := w.secret(`{"num_uses":2}`)
	texts := []string{text, "chosen-by-a-person", "guess-of-somebody"}
	w.ok(w.write("role/app/custom-secret-id", `{"secret_id":"chosen-by-a-person"}`))
	_, err := w.write("role/app/custom-secret-id", `{"secret_id":"chosen-by-a-person"}`)
	said := err.Error()
	for _, s := range texts {
		_, err := w.login(id, s)
		if err != nil {
			said += err.Error()
		}
		_, err = w.do(engine.Delete, "role/app/secret-id/destroy", `{"secret_id":"`+s+`"}`)
		if err != nil {
			said += err.Error()
		}
	}
	all := w.everything() + said
	for _, s := range texts {
		if strings.Contains(all, s) {
			t.Errorf("a secret id is kept")
		}
	}
	if !strings.Contains(all, accessor) {
		t.Error("the record does not say which secret id was made") // or the test reads nothing
	}
}

// A secret id whose answer was not delivered works no more (A8).
func TestUndelivered(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.app(`{}`)
	a := w.ok(w.write("role/app/secret-id", ``))
	if err := a.Undelivered(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err := w.login(id, a.Data["secret_id"].(string))
	w.refused(err, 400, "invalid")
}
