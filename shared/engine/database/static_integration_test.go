//go:build integration

package database

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/testkit"
)

// eachKeeping runs a test with both kinds of admin (C4).
func eachKeeping(t *testing.T, test func(k *keeping)) {
	t.Helper()
	for _, kind := range testkit.AdminKinds() {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			test(newKeeping(t, testkit.SharedPostgres(t).CreateAdmin(t, kind)))
		})
	}
}

// The way of a static role, in the shapes of stock servers.
func TestStaticRole(t *testing.T) {
	t.Parallel()
	eachKeeping(t, func(k *keeping) {
		k.refused(engine.NotFound, engine.List, "static-roles", nil)
		k.refused(engine.Invalid, engine.Read, "static-creds/app", nil, "unknown role: app")
		k.refused(engine.Invalid, engine.Write, "rotate-role/app", nil, "no static role found for role name")
		if r := k.must(engine.Write, "static-roles/app", k.role()); r != nil {
			k.tb.Errorf("write says %+v, want nothing", r)
		}
		if k.takes(k.first) {
			k.tb.Error("the password that people set still works")
		}
		first := k.served()
		read := k.must(engine.Read, "static-roles/app", nil).Data
		s := k.static()
		want := map[string]any{
			"db_name": "db", "username": k.account, "rotation_period": int64(3600), "rotation_statements": []string{},
			"credential_type": "password", "last_vault_rotation": s.LastRotation.UTC(), "next_vault_rotation": s.next().UTC(),
		}
		if !reflect.DeepEqual(read, want) {
			k.tb.Errorf("read\n%v, want\n%v", read, want)
		}
		creds := k.must(engine.Read, "static-creds/app", nil).Data
		if ttl, _ := creds["ttl"].(int64); ttl < 3500 || ttl > 3600 || creds["username"] != k.account || creds["rotation_period"] != int64(3600) ||
			creds["last_vault_rotation"] != s.LastRotation.UTC() || len(creds) != 5 {
			k.tb.Errorf("static-creds without its password: %v, %v", creds["ttl"], creds["last_vault_rotation"])
		}
		if keys := k.must(engine.List, "static-roles", nil).Data["keys"]; !reflect.DeepEqual(keys, []string{"app"}) {
			k.tb.Errorf("list says %v", keys)
		}

		if r := k.must(engine.Write, "rotate-role/app", nil); r != nil {
			k.tb.Errorf("rotate-role says %+v, want nothing", r)
		}
		second := k.served()
		if second == first || k.takes(first) {
			k.tb.Error("rotate-role left the old password")
		}
		if done, err := k.run(0); done != 0 || err != nil {
			k.tb.Errorf("%d rotated before it was due, %v", done, err)
		}
		k.age(time.Hour)
		if done, err := k.run(0); done != 1 || err != nil {
			k.tb.Errorf("%d rotated when it was due, %v", done, err)
		}
		third := k.served()
		if third == second || k.takes(second) {
			k.tb.Error("the automatic rotation left the old password")
		}
		if n := k.count(event.AccountRotated); n != 3 {
			k.tb.Errorf("%d rotations on record, want 3", n)
		}

		// Editing touches no target.
		k.must(engine.Write, "static-roles/app", map[string]any{"rotation_period": 7200, "username": k.account})
		if got := k.must(engine.Read, "static-roles/app", nil).Data["rotation_period"]; got != int64(7200) || k.served() != third {
			k.tb.Errorf("after an edit the period is %v", got)
		}
		k.must(engine.Delete, "static-roles/app", nil)
		k.must(engine.Delete, "static-roles/app", nil) // again is success
		k.refused(engine.NotFound, engine.Read, "static-roles/app", nil)
		if !k.takes(third) {
			k.tb.Error("the account of a deleted role was changed")
		}
		if done, err := k.run(48 * time.Hour); done != 0 || err != nil {
			k.tb.Errorf("%d rotations after the deletion, %v", done, err)
		}
		// The account is free again.
		k.must(engine.Write, "static-roles/app", k.role())
		k.served()
		k.wantNoSecret(first, second, third)
	})
}

// wantNoSecret looks for passwords where none may be.
func (k *keeping) wantNoSecret(passwords ...string) {
	k.tb.Helper()
	all, err := json.Marshal(k.events())
	if err != nil {
		k.tb.Fatal(err)
	}
	for _, p := range append(passwords, "SCRAM-SHA-256$") {
		if strings.Contains(string(all), p) || strings.Contains(k.logs.String(), p) {
			k.tb.Error("a password is in the log or in an event")
		}
	}
}

// Several processes and one due time: one rotation, decided in the store.
func TestStaticRotationHappensOnce(t *testing.T) {
	t.Parallel()
	k := newKeeping(t, testkit.SharedPostgres(t).CreateAdmin(t, testkit.CreateRoleAdmin))
	k.must(engine.Write, "static-roles/app", k.role())
	processes := []*keeping{k, k.process(k.fake, time.Minute), k.process(k.fake, time.Minute), k.process(k.fake, time.Minute)}
	for round := range 3 {
		k.age(time.Hour)
		var done atomic.Int64
		var wg sync.WaitGroup
		for _, p := range processes {
			for range 2 {
				wg.Go(func() {
					n, err := p.run(0)
					if err != nil {
						t.Error(err)
					}
					done.Add(int64(n))
				})
			}
		}
		wg.Wait()
		if done.Load() != 1 {
			t.Errorf("round %d: %d rotations of one due time", round, done.Load())
		}
		// Who listed it before, and comes when the account is free again.
		if again, err := processes[1].Rotate(t.Context(), engine.Rotation{ID: k.static().ID}, nil); again || err != nil {
			t.Errorf("round %d: it was rotated once more, %v", round, err)
		}
		k.served()
	}
	if n := k.count(event.AccountRotated); n != 4 {
		t.Errorf("%d rotations on record, want 4", n)
	}
	if n := k.count(event.AccountRotationFailed); n != 0 {
		t.Errorf("%d failures on record", n)
	}
}

// People who rotate at the same time wait for each other; each is served.
func TestStaticRotationsByHandAtOnce(t *testing.T) {
	t.Parallel()
	k := newKeeping(t, testkit.SharedPostgres(t).CreateAdmin(t, testkit.CreateRoleAdmin))
	k.must(engine.Write, "static-roles/app", k.role())
	other := k.process(k.fake, time.Minute)
	var wg sync.WaitGroup
	for n := range 6 {
		wg.Go(func() {
			p := []*keeping{k, other}[n%2]
			if _, err := p.ask(engine.Write, "rotate-role/app", nil); err != nil {
				t.Error(err)
			}
			// Whatever is served while others rotate was in force: it is the
			// current one of a moment.
			if _, err := p.ask(engine.Read, "static-creds/app", nil); err != nil && engine.AsError(err).Kind != engine.Conflict {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	k.served()
	if n := k.count(event.AccountRotated); n != 7 {
		t.Errorf("%d rotations on record, want 7", n)
	}
}

func TestStaticRoleRefused(t *testing.T) {
	t.Parallel()
	eachKeeping(t, func(k *keeping) {
		issued := k.issue("good")
		cluster := k.admin.Cluster()
		cluster.Exec(k.tb, "postgres", fmt.Sprintf(`CREATE ROLE "%s-old" LOGIN PASSWORD 'x' VALID UNTIL '2020-01-01'`, k.account))
		for _, c := range []struct {
			data  map[string]any
			kind  engine.Kind
			texts []string
		}{
			{k.role("username", ""), engine.Invalid, []string{"username is a required field to create a static account"}},
			{k.role("username", strings.Repeat("x", 64)), engine.Invalid, []string{"63 bytes"}},
			{k.role("db_name", ""), engine.Invalid, []string{"database name is required"}},
			{k.role("db_name", "nope"), engine.Invalid, []string{`failed to find entry for connection with name: "nope"`}},
			{k.role("rotation_period", "4"), engine.Invalid, []string{"rotation_period must be 5 seconds or more"}},
			{map[string]any{"db_name": "db", "username": k.account}, engine.Invalid, []string{"one of rotation_schedule or rotation_period must be provided"}},
			{k.role("rotation_schedule", "* * * * *"), engine.Invalid, []string{"rotation_schedule and rotation_window are not supported"}},
			{k.role("rotation_window", "1h"), engine.Invalid, []string{"rotation_window are not supported"}},
			{k.role("credential_type", "rsa_private_key"), engine.Invalid, []string{"credential_type"}},
			{k.role("credential_config", `{"password_policy":"gone"}`), engine.Invalid, []string{"no password policy found"}},
			{k.role("credential_config", `{"password_policy":["a"]}`), engine.Invalid, []string{"credential_config validation failed"}},
			{k.role("skip_import_rotation", "true"), engine.Invalid, []string{"skip_import_rotation"}},
			{k.role("password", "mine"), engine.Invalid, []string{"begins with a rotation"}},
			{k.role("rotation_statements", `ALTER ROLE "{{name}}" NOLOGIN`), engine.Invalid, []string{"rotation_statements", "no statement sets {{password}}"}},
			{k.role("rotation_statements", `SELECT f('{{name}}', '{{password}}')`), engine.Invalid, []string{"rotation_statements", "verifier"}},
			{k.role("rotation_statements", `DROP ROLE "{{name}}"; ALTER ROLE "{{name}}" PASSWORD '{{password}}'`), engine.Invalid, []string{"rotation_statements"}},
			{k.role("username", "nobody-"+k.account), engine.Refused, []string{"nobody-" + k.account, "does not exist"}},
			{k.role("username", k.account+"-old"), engine.Refused, []string{"VALID UNTIL", "infinity"}},
			{k.role("username", k.admin.User), engine.Invalid, []string{k.admin.User, "database/config/db", "rotate-root"}},
			{k.role("username", issued.Account), engine.Invalid, []string{"Curfew's own making"}},
			{k.role("username", "curfew-owner-x"), engine.Invalid, []string{"Curfew's own making"}},
		} {
			k.refused(c.kind, engine.Write, "static-roles/app", c.data, c.texts...)
			if s, _ := k.staticByName(k.tb.Context(), mountID, "app"); s != nil {
				k.tb.Fatalf("%v was not refused", c.data)
			}
		}
		k.refused(engine.NotFound, engine.List, "static-roles", nil)
		if !k.takes(k.first) {
			k.tb.Error("a refused role changed the password")
		}
		k.must(engine.Write, "config/db", k.config("allowed_roles", "other"))
		k.refused(engine.Invalid, engine.Write, "static-roles/app", k.role(), `"app" is not an allowed role`)
		k.must(engine.Write, "config/db", k.config())

		k.must(engine.Write, "static-roles/app", k.role())
		password := k.served()
		k.refused(engine.Invalid, engine.Write, "static-roles/app", k.role("username", "other"), "cannot update static account username")
		k.refused(engine.Invalid, engine.Write, "static-roles/app", k.role("db_name", "other"), "cannot update static account db_name")
		k.refused(engine.Invalid, engine.Write, "static-roles/app", k.role("rotation_period", "1"), "5 seconds or more")
		k.refused(engine.Invalid, engine.Write, "static-roles/twin", k.role(), k.account, "database/static-roles/app")
		// Also by another connection to the same server.
		k.must(engine.Write, "config/again", k.config())
		k.refused(engine.Invalid, engine.Write, "static-roles/twin", k.role("db_name", "again"), "database/static-roles/app")
		k.refused(engine.UnsupportedOperation, engine.Write, "static-creds/app", nil)
		k.refused(engine.UnsupportedOperation, engine.Read, "rotate-role/app", nil)
		if k.served() != password {
			k.tb.Error("a refused write changed the password")
		}
		k.must(engine.Write, "config/db", k.config("allowed_roles", "other"))
		k.refused(engine.Invalid, engine.Read, "static-creds/app", nil, `"app" is not an allowed role`)
	})
}

// An account that later becomes an admin's is left alone, and that is seen.
func TestStaticRoleOfALaterAdmin(t *testing.T) {
	t.Parallel()
	k := newKeeping(t, testkit.SharedPostgres(t).CreateAdmin(t, testkit.CreateRoleAdmin))
	k.must(engine.Write, "static-roles/app", k.role())
	password := k.served()
	k.must(engine.Write, "config/twin", k.config("username", k.account, "password", password, "verify_connection", "false"))
	k.refused(engine.Invalid, engine.Write, "rotate-role/app", nil, "admin user of connection database/config/twin")
	k.age(time.Hour)
	k.must(engine.Write, "static-roles/app", nil) // a write is tried at once (C8)
	if done, err := k.run(0); done != 0 || err == nil {
		t.Errorf("%d rotated, %v", done, err)
	}
	if got := k.must(engine.Read, "static-roles/app", nil).Data; !strings.Contains(fmt.Sprint(got["rotation_error"]), "config/twin") || got["rotation_failures"] != 2 {
		t.Errorf("read says %v", got)
	}
	if k.served() != password {
		t.Error("a refused rotation changed the password")
	}
}

// C4: from version 16 on the admin needs ADMIN OPTION; the missing GRANT is
// named, and with it the rotation goes on.
func TestStaticRoleNamesTheMissingGrant(t *testing.T) {
	t.Parallel()
	k := newKeeping(t, testkit.SharedPostgres(t).CreateAdmin(t, testkit.CreateRoleAdmin))
	cluster := k.admin.Cluster()
	text, want := `permission denied to alter role`, fmt.Sprintf(`GRANT %q TO %q WITH ADMIN OPTION`, k.account, k.admin.User)
	var version int
	if err := k.super(t.Context(), `SELECT current_setting('server_version_num')::int`, nil, &version); err != nil {
		t.Fatal(err)
	}
	take, give := fmt.Sprintf(`REVOKE %q FROM %q`, k.account, k.admin.User), want
	if version < 160000 {
		text, want = "must be superuser", "only a superuser may do this"
		take, give = fmt.Sprintf(`ALTER ROLE %q SUPERUSER`, k.account), fmt.Sprintf(`ALTER ROLE %q NOSUPERUSER`, k.account)
	}
	cluster.Exec(t, "postgres", take)
	k.refused(engine.Refused, engine.Write, "static-roles/app", k.role(), text, "SQLSTATE 42501", want)
	k.refused(engine.NotFound, engine.Read, "static-roles/app", nil)
	if !k.takes(k.first) {
		t.Error("a refused role changed the password")
	}
	cluster.Exec(t, "postgres", give)
	k.must(engine.Write, "static-roles/app", k.role())
	password := k.served()
	cluster.Exec(t, "postgres", take)
	k.refused(engine.Refused, engine.Write, "rotate-role/app", nil, want)
	if k.served() != password || len(k.static().Pending) > 0 {
		t.Error("a refusal left something behind")
	}
	if n := k.count(event.AccountRotationFailed); n != 1 {
		t.Errorf("%d failures on record, want 1", n)
	}
	cluster.Exec(t, "postgres", give)
	k.must(engine.Write, "rotate-role/app", nil)
	if k.served() == password || k.static().Failure.Attempts != 0 {
		t.Error("the rotation did not go on")
	}
}

// rotation_statements run as they are written, alone in a session that is reset.
func TestStaticRotationStatements(t *testing.T) {
	t.Parallel()
	eachKeeping(t, func(k *keeping) {
		k.must(engine.Write, "static-roles/app", k.role("rotation_statements",
			`SET work_mem = '1MB'; ALTER USER "{{username}}" WITH PASSWORD '{{password}}'; COMMENT ON ROLE "{{name}}" IS 'rotated'`))
		k.served()
		var comment string
		if err := k.super(k.tb.Context(), `SELECT shobj_description(oid, 'pg_authid') FROM pg_authid WHERE rolname = $1`, []any{k.account}, &comment); err != nil || comment != "rotated" {
			k.tb.Errorf("the comment is %q, %v", comment, err)
		}
		k.must(engine.Write, "static-roles/app", map[string]any{"rotation_statements": `ALTER ROLE "{{name}}" PASSWORD '{{password}}'; GRANT no_such TO "{{name}}"`})
		before := k.served()
		k.refused(engine.Refused, engine.Write, "rotate-role/app", nil, "rotation_statements: statement 2", "42704")
		if k.served() != before {
			k.tb.Error("half of the statements were carried out")
		}
		// B10: with password_authentication=password the server hashes.
		k.admin.Cluster().Exec(k.tb, k.admin.Database, fmt.Sprintf(`CREATE FUNCTION give(who text, what text) RETURNS void LANGUAGE plpgsql AS
			$$ BEGIN EXECUTE format('ALTER ROLE %%I PASSWORD %%L', who, what); END $$`))
		k.must(engine.Write, "config/db", k.config("password_authentication", "password"))
		k.must(engine.Write, "static-roles/app", map[string]any{"rotation_statements": `SELECT give('{{name}}', '{{password}}')`})
		k.must(engine.Write, "rotate-role/app", nil)
		if k.served() == before {
			k.tb.Error("the statement did not set the password")
		}
		k.must(engine.Write, "static-roles/app", map[string]any{"rotation_statements": ""})
		k.must(engine.Write, "rotate-role/app", nil)
		k.served()
	})
}

// What the server looks at after the password does not keep a rotation from being
// proved.
func TestStaticRoleThatMayNotLogIn(t *testing.T) {
	t.Parallel()
	k := newKeeping(t, testkit.SharedPostgres(t).CreateAdmin(t, testkit.CreateRoleAdmin))
	k.must(engine.Write, "static-roles/app", k.role())
	k.admin.Cluster().Exec(t, "postgres", fmt.Sprintf(`ALTER ROLE %q NOLOGIN`, k.account))
	k.must(engine.Write, "rotate-role/app", nil)
	k.admin.Cluster().Exec(t, "postgres", fmt.Sprintf(`ALTER ROLE %q LOGIN CONNECTION LIMIT 0`, k.account))
	k.must(engine.Write, "rotate-role/app", nil)
	k.admin.Cluster().Exec(t, "postgres", fmt.Sprintf(`ALTER ROLE %q CONNECTION LIMIT -1`, k.account))
	k.served()
}

// B10: passwords of static roles are drawn by the role's policy, else by that of
// the connection; where it is gone nothing changes.
func TestStaticRoleByPolicy(t *testing.T) {
	t.Parallel()
	eachKeeping(t, func(k *keeping) {
		t := k.tb
		obeys := func(password string, length int, charset string) {
			t.Helper()
			if len(password) != length || strings.Trim(password, charset) != "" {
				t.Errorf("a password of %d characters that its policy does not allow", len(password))
			}
		}
		k.policyOf("digits", 12, "0123456789")
		k.policyOf("letters", 40, letters)
		k.must(engine.Write, "config/db", map[string]any{"password_policy": "digits"})
		k.must(engine.Write, "static-roles/app", k.role())
		obeys(k.served(), 12, "0123456789")
		k.must(engine.Write, "static-roles/app", map[string]any{"credential_config": map[string]any{"password_policy": "letters"}})
		if got := k.must(engine.Read, "static-roles/app", nil).Data["credential_config"]; fmt.Sprint(got) != "map[password_policy:letters]" {
			t.Errorf("credential_config reads as %v", got)
		}
		k.must(engine.Write, "rotate-role/app", nil)
		before := k.served()
		obeys(before, 40, letters)
		k.must(engine.Write, "static-roles/app", map[string]any{"credential_config": map[string]any{"password_policy": "gone"}})
		k.refused(engine.Invalid, engine.Write, "rotate-role/app", nil, "no password policy found")
		if k.served() != before {
			t.Error("the password in force changed")
		}
	})
}
