package approle_test

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

// What stock clients send and expect, as recorded.
func TestRecordedExchanges(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	made := w.ok(w.write("role/app", `{"secret_id_ttl":"10m","token_max_ttl":"60s","token_policies":"readonly","token_ttl":"20s"}`))
	if made.Code() != 204 || !made.Recorded {
		t.Fatalf("role: %d, recorded %t", made.Code(), made.Recorded)
	}
	id := w.ok(w.do(engine.Read, "role/app/role-id", "")).Data
	if !slices.Equal(keysOf(id), []string{"role_id"}) || len(id["role_id"].(string)) != 36 {
		t.Fatalf("role id %v", id)
	}
	s := w.ok(w.write("role/app/secret-id", `null`))
	if want := []string{"secret_id", "secret_id_accessor", "secret_id_num_uses", "secret_id_ttl"}; !slices.Equal(keysOf(s.Data), want) ||
		s.Data["secret_id_ttl"] != int64(600) || s.Data["secret_id_num_uses"] != 0 || len(s.Data["secret_id"].(string)) != 36 {
		t.Fatalf("secret id: %v", keysOf(s.Data))
	}
	in, err := w.login(id["role_id"].(string), s.Data["secret_id"].(string))
	if err != nil {
		t.Fatal(err)
	}
	if in.Path != "auth/approle/login" || in.DisplayName != "approle" || !slices.Equal(in.Policies, []string{"readonly"}) ||
		in.TTL != 20*time.Second || in.MaxTTL != time.Minute || !reflect.DeepEqual(in.Meta, map[string]string{"role_name": "app"}) {
		t.Errorf("login %+v", in)
	}
	_, err = w.login(id["role_id"].(string), "nope")
	w.refused(err, 400, "invalid role or secret ID")
	_, err = w.login("nope", s.Data["secret_id"].(string))
	w.refused(err, 400, "invalid role or secret ID")
}

// The whole way: the token that a login earns is made, and names its role.
func TestLoginMakesAToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.app(`{"token_policies":"readonly","token_ttl":"20s","token_num_uses":7,"token_bound_cidrs":"192.0.2.0/24"}`)
	text, _ := w.secret(`{"metadata":"{\"team\":\"shop\"}"}`)
	in, err := w.login(id, text)
	if err != nil {
		t.Fatal(err)
	}
	a := w.ok(w.reg.Login(t.Context(), w.request(engine.Write, "auth/approle/login", ""), in))
	want := map[string]string{"role_name": "app", "team": "shop"}
	if a.Auth == nil || !reflect.DeepEqual(a.Auth.Metadata, want) || !slices.Equal(a.Auth.Policies, []string{"default", "readonly"}) ||
		!a.Auth.Orphan || a.Auth.Duration != 20*time.Second {
		t.Errorf("auth %+v", a.Auth)
	}
	// It carries its mount, by which disabling finds it (A3).
	m, _, err := w.table.Resolve(t.Context(), "auth/approle/login")
	if err != nil {
		t.Fatal(err)
	}
	found, err := w.fake.Find(t.Context(), store.Query{MountID: m.ID, Kind: lease.Token, States: []lease.State{lease.Active}})
	if err != nil || len(found) != 1 || found[0].Account != a.Auth.Accessor {
		t.Errorf("tokens of the mount: %d, %v", len(found), err)
	}
	if in.Uses != 7 || !slices.Equal(in.BoundCIDRs, []string{"192.0.2.0/24"}) {
		t.Errorf("login %+v", in)
	}
}

// What is withdrawn between the login and the token's commit yields none (A3).
func TestWithdrawnMeanwhile(t *testing.T) {
	t.Parallel()
	for name, withdraw := range map[string]func(w *world, accessor string) error{
		"role": func(w *world, _ string) error { _, err := w.do(engine.Delete, "role/app", ""); return err },
		"secret id": func(w *world, accessor string) error {
			_, err := w.write("role/app/secret-id-accessor/destroy", `{"secret_id_accessor":"`+accessor+`"}`)
			return err
		},
		"mount": func(w *world, _ string) error {
			_, err := w.table.Disable(w.t.Context(), w.request(engine.Delete, "sys/auth/approle", ""), "approle")
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			id, body := w.app(`{}`), ``
			if name != "secret id" {
				body = `{"num_uses":2}` // no guard by itself: it must not help the others
			}
			text, accessor := w.secret(body)
			in, err := w.login(id, text)
			if err != nil {
				t.Fatal(err)
			}
			if err := withdraw(w, accessor); err != nil {
				t.Fatal(err)
			}
			if a, err := w.reg.Login(t.Context(), w.request(engine.Write, "auth/approle/login", ""), in); err == nil {
				t.Fatalf("a token was made: %t", a.Auth != nil)
			}
		})
	}
}

func TestReadRole(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.app(`{"policies":"B,a,b","period":"1h","bound_cidr_list":["10.0.0.0/8"],"token_type":"service","local_secret_ids":true}`)
	got := w.ok(w.do(engine.Read, "role/app", "")).Data
	want := map[string]any{
		"bind_secret_id": true, "local_secret_ids": true, "secret_id_bound_cidrs": []string{"10.0.0.0/8"},
		"secret_id_num_uses": 0, "secret_id_ttl": int64(0), "token_bound_cidrs": []string{},
		"token_explicit_max_ttl": int64(0), "token_max_ttl": int64(0), "token_no_default_policy": false,
		"token_num_uses": 0, "token_period": int64(3600), "token_policies": []string{"a", "b"},
		"token_ttl": int64(0), "token_type": "service",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("role\n%v, want\n%v", got, want)
	}
	w.ok(w.write("role/app", `{"token_ttl":60}`)) // leaves the rest as it is
	if again := w.ok(w.do(engine.Read, "role/app", "")).Data; again["token_ttl"] != int64(60) || again["token_period"] != int64(3600) {
		t.Errorf("after an edit %v", again)
	}
}

// Every setting that has a path of its own is written, read and deleted there,
// and seen in the role.
func TestParts(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		path, field, body string
		set, unset        any
	}{
		{"policies", "token_policies", `{"token_policies":"x,y"}`, []string{"x", "y"}, []string{}},
		{"policies", "policies", `{"policies":["x"]}`, []string{"x"}, []string{}},
		{"period", "token_period", `{"period":"2m"}`, int64(120), int64(0)},
		{"bound-cidr-list", "bound_cidr_list", `{"bound_cidr_list":"10.0.0.0/8"}`, []string{"10.0.0.0/8"}, nil},
		{"secret-id-bound-cidrs", "secret_id_bound_cidrs", `{"secret_id_bound_cidrs":"10.0.0.0/8"}`, []string{"10.0.0.0/8"}, nil},
		{"token-bound-cidrs", "token_bound_cidrs", `{"token_bound_cidrs":"10.1.2.3"}`, []string{"10.1.2.3"}, []string{}},
		{"secret-id-num-uses", "secret_id_num_uses", `{"secret_id_num_uses":"3"}`, 3, 0},
		{"secret-id-ttl", "secret_id_ttl", `{"secret_id_ttl":"5m"}`, int64(300), int64(0)},
		{"token-num-uses", "token_num_uses", `{"token_num_uses":4}`, 4, 0},
		{"token-ttl", "token_ttl", `{"token_ttl":"5m"}`, int64(300), int64(0)},
		{"token-max-ttl", "token_max_ttl", `{"token_max_ttl":"1h"}`, int64(3600), int64(0)},
	} {
		t.Run(c.field, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			_, err := w.write("role/app/"+c.path, c.body)
			w.refused(err, 404, `role "app" does not exist`)
			w.app(`{}`)
			_, err = w.write("role/app/"+c.path, `{}`)
			w.refused(err, 400, "missing ")
			w.ok(w.write("role/app/"+c.path, c.body))
			if got := w.ok(w.do(engine.Read, "role/app/"+c.path, "")).Data[c.field]; !reflect.DeepEqual(got, c.set) {
				t.Errorf("written: %v, want %v", got, c.set)
			}
			w.ok(w.do(engine.Delete, "role/app/"+c.path, ""))
			if got := w.ok(w.do(engine.Read, "role/app/"+c.path, "")).Data[c.field]; !reflect.DeepEqual(got, c.unset) {
				t.Errorf("deleted: %v, want %v", got, c.unset)
			}
		})
	}
	w := newWorld(t)
	w.app(`{"secret_id_bound_cidrs":"10.0.0.0/8"}`)
	w.ok(w.write("role/app/bind-secret-id", `{"bind_secret_id":"false"}`))
	w.ok(w.do(engine.Delete, "role/app/bind-secret-id", ""))
	if got := w.ok(w.do(engine.Read, "role/app/bind-secret-id", "")).Data; got["bind_secret_id"] != true {
		t.Errorf("bind_secret_id %v", got)
	}
	if got := w.ok(w.do(engine.Read, "role/app/local-secret-ids", "")).Data; got["local_secret_ids"] != false {
		t.Errorf("local_secret_ids %v", got)
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	const write, read, list, del = engine.Write, engine.Read, engine.List, engine.Delete
	w := newWorld(t)
	w.app(`{"secret_id_num_uses":3,"secret_id_ttl":"10m","secret_id_bound_cidrs":"10.0.0.0/8","token_bound_cidrs":"10.0.0.0/8"}`)
	w.ok(w.write("role/open", `{"bind_secret_id":false,"secret_id_bound_cidrs":"10.0.0.0/8","role_id":"taken"}`))
	for _, c := range []struct {
		op         engine.Operation
		path, body string
		status     int
		text       string
	}{
		{write, "role/x", `{"bind_secret_id":false}`, 400, "at least one constraint"},
		{write, "role/x", `{"token_type":"batch"}`, 400, "not supported"},
		{write, "role/x", `{"token_policies":"a,Root"}`, 400, "root"},
		{write, "role/x", `{"token_ttl":"2h","token_max_ttl":"1h"}`, 400, "lease TTL too large"},
		{write, "role/x", `{"token_ttl":"banana"}`, 400, "token_ttl"},
		{write, "role/x", `{"token_num_uses":-1}`, 400, "token_num_uses"},
		{write, "role/x", `{"secret_id_num_uses":"many"}`, 400, "secret_id_num_uses"},
		{write, "role/x", `{"secret_id_bound_cidrs":"10.0.0.0/33"}`, 400, "CIDR"},
		{write, "role/x", `{"token_bound_cidrs":["localhost"]}`, 400, "CIDR"},
		{write, "role/x", `{"role_id":""}`, 400, "role_id"},
		{write, "role/x", `{"role_id":"taken"}`, 400, "role_id already in use"},
		{write, "role/x", `{"role_id":"` + strings.Repeat("x", 4097) + `"}`, 400, "longer"},
		{write, "role/app", `{"local_secret_ids":true}`, 400, "during role creation"},
		{write, "role/" + strings.Repeat("x", 300), `{}`, 400, "longer"},
		{write, "role/-x", `{}`, 404, "unsupported path"},
		{write, "role/app/nosuch", `{}`, 404, "unsupported path"},
		{write, "nosuch", `{}`, 404, "unsupported path"},
		{read, "role", ``, 405, ""},
		{read, "login", ``, 405, ""},
		{write, "role/app/local-secret-ids", `{}`, 405, ""},
		{del, "role/app/role-id", ``, 405, ""},
		{read, "role/none", ``, 404, ""},
		{read, "role/none/token-ttl", ``, 404, ""},
		{write, "role/app/role-id", `{"role_id":"taken"}`, 400, "role_id already in use"},
		{write, "role/none/secret-id", `{}`, 404, `role "none" does not exist`},
		{write, "role/open/secret-id", `{}`, 400, "bind_secret_id is not set"},
		{write, "role/app/secret-id", `{"num_uses":0}`, 400, "num_uses cannot be higher"},
		{write, "role/app/secret-id", `{"num_uses":4}`, 400, "num_uses cannot be higher"},
		{write, "role/app/secret-id", `{"ttl":"0"}`, 400, "ttl cannot be longer"},
		{write, "role/app/secret-id", `{"ttl":"11m"}`, 400, "ttl cannot be longer"},
		{write, "role/app/secret-id", `{"cidr_list":"11.0.0.0/8"}`, 400, "subset"},
		{write, "role/app/secret-id", `{"cidr_list":"10.0.0.0/7"}`, 400, "subset"},
		{write, "role/app/secret-id", `{"token_bound_cidrs":"::/0"}`, 400, "subset"},
		{write, "role/app/secret-id", `{"cidr_list":"x"}`, 400, "CIDR"},
		{write, "role/app/secret-id", `{"metadata":"nonsense"}`, 400, "metadata"},
		{write, "role/app/secret-id", `{"metadata":"{\"a\":[1]}"}`, 400, "metadata"},
		{write, "role/app/custom-secret-id", `{}`, 400, "missing secret_id"},
		{write, "role/app/custom-secret-id", `{"secret_id":" x"}`, 400, "space"},
		{write, "role/app/secret-id/lookup", `{}`, 400, "missing secret_id"},
		{write, "role/none/secret-id/lookup", `{"secret_id":"x"}`, 404, "does not exist"},
		{write, "role/app/secret-id-accessor/lookup", `{}`, 400, "missing secret_id_accessor"},
		{write, "role/app/secret-id-accessor/lookup", `{"secret_id_accessor":"nope"}`, 404, "failed to find accessor"},
		{write, "role/app/secret-id-accessor/destroy", `{"secret_id_accessor":"../x"}`, 404, "failed to find accessor"},
		{list, "role/app/secret-id", ``, 404, ""},
		{list, "role/none/secret-id", ``, 404, "does not exist"},
	} {
		_, err := w.do(c.op, c.path, c.body)
		if err == nil {
			t.Errorf("%s %s %s was taken", c.op, c.path, c.body)
			continue
		}
		w.refused(err, c.status, c.text)
	}
	if n := w.count(store.KindAppRole); n != 2 {
		t.Errorf("%d roles after refusals", n)
	}
	for body, text := range map[string]string{
		`{}`: "missing role_id", `{"role_id":" ","secret_id":"x"}`: "missing role_id", `{"role_id":{}}`: "role_id",
		`{"role_id":"\u0000","secret_id":"x"}`: "invalid role or secret ID",
	} {
		_, err := w.table.Login(t.Context(), w.request(write, "auth/approle/login", body))
		w.refused(err, 400, text)
	}
	_, err := w.table.Login(t.Context(), w.request(write, "auth/approle/role", `{}`))
	w.refused(err, 404, "")
	_, err = w.login("taken", "")
	w.refused(err, 400, "unauthorized by CIDR")
	w.from = "10.9.9.9"
	if _, err := w.login("taken", ""); err != nil {
		t.Errorf("role without secret ids: %v", err)
	}
}

func TestListRoles(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, err := w.do(engine.List, "role", "")
	w.refused(err, 404, "")
	var want []string
	for i := range 7 {
		want = append(want, fmt.Sprintf("r%d", i))
		w.ok(w.write("role/R"+fmt.Sprint(i), `{}`)) // names are in lower case
	}
	if got := w.ok(w.do(engine.List, "role", "")).Data["keys"]; !reflect.DeepEqual(got, want) {
		t.Errorf("roles %v", got)
	}
	r := w.request(engine.List, "auth/approle/role", "")
	r.After, r.Limit = "r1", 3
	if got := w.ok(w.table.Handle(t.Context(), r)).Data["keys"]; !reflect.DeepEqual(got, want[2:5]) {
		t.Errorf("page %v", got)
	}
}

func TestRoleID(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first := w.app(`{}`)
	text, _ := w.secret(``)
	w.ok(w.write("role/app/role-id", `{"role_id":"mine"}`))
	_, err := w.login(first, text)
	w.refused(err, 400, "invalid role or secret ID")
	if _, err := w.login("mine", text); err != nil {
		t.Errorf("by the chosen role id: %v", err)
	}
	w.ok(w.write("role/other", `{"role_id":"`+first+`"}`)) // free again
	w.ok(w.do(engine.Delete, "role/app", ""))
	w.ok(w.do(engine.Delete, "role/app", ""))
	_, err = w.login("mine", text)
	w.refused(err, 400, "invalid role or secret ID")
	w.app(`{"role_id":"mine"}`)
	_, err = w.login("mine", text) // of the role that was deleted
	w.refused(err, 400, "invalid role or secret ID")
	if n := w.count(store.KindAppRole); n != 2 {
		t.Errorf("%d roles are kept", n)
	}
}
