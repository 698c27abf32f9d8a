//go:build integration

package database

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/testkit"
)

// A connection that is deleted takes no password along: the role goes on with the
// next one that reaches the same server.
func TestStaticRoleOutlivesItsConnection(t *testing.T) {
	t.Parallel()
	k := newKeeping(t, testkit.SharedPostgres(t).CreateAdmin(t, testkit.CreateRoleAdmin))
	k.must(engine.Write, "static-roles/app", k.role())
	password := k.served()
	if r := k.must(engine.Delete, "config/db", nil); r == nil || len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], `"app"`) {
		t.Errorf("the deletion says %+v, want a warning", r)
	}
	k.refused(engine.Invalid, engine.Read, "static-creds/app", nil, `failed to find entry for connection with name: "db"`)
	k.age(time.Hour)
	if done, err := k.run(0); done != 0 || err == nil {
		t.Errorf("%d rotated without a connection, %v", done, err)
	}
	k.must(engine.Write, "config/db", k.config())
	if k.served() != password {
		t.Error("the password was lost")
	}
	if done, err := k.run(0); done != 1 || err != nil { // at once (C8)
		t.Errorf("%d rotated, %v", done, err)
	}
	k.served()

	// Another server (C6).
	there := testkit.Postgres(t).CreateAdmin(t, testkit.CreateRoleAdmin)
	url := strings.Replace(there.URL(), there.User+":"+there.Password, "{{username}}:{{password}}", 1)
	k.must(engine.Write, "config/db", k.config("connection_url", url, "username", there.User, "password", there.Password))
	k.refused(engine.Refused, engine.Write, "rotate-role/app", nil, "target moved")
}

// A disabled mount takes its static roles with it and leaves accounts alone.
func TestDisabledMountForgetsStaticRoles(t *testing.T) {
	t.Parallel()
	k := newKeeping(t, testkit.SharedPostgres(t).CreateAdmin(t, testkit.CreateRoleAdmin))
	k.must(engine.Write, "static-roles/app", k.role())
	password := k.served()
	s := k.static()
	// While somebody rotates it waits.
	err := k.hold(t.Context(), &s.staticRole, 0, func(ctx context.Context, _ time.Time) error {
		if err := k.Disabled(ctx, mountID); engine.AsError(err).Kind != engine.Conflict {
			t.Errorf("disabled in the middle of a rotation: %v", err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Disabled(t.Context(), mountID); err != nil {
		t.Fatal(err)
	}
	if s, err := k.staticByName(t.Context(), mountID, "app"); s != nil || err != nil {
		t.Errorf("the role is still there, %v", err)
	}
	if !k.takes(password) {
		t.Error("the account was changed")
	}
	k.must(engine.Write, "config/db", k.config())
	k.must(engine.Write, "static-roles/app", k.role()) // no claim is left
}

// A target that is away: nothing is lost, the failure is seen, and the rotation
// goes on.
func TestStaticRoleOfATargetThatIsAway(t *testing.T) {
	t.Parallel()
	k := newKeeping(t, testkit.SharedPostgres(t).CreateAdmin(t, testkit.CreateRoleAdmin))
	k.proxy.down.Store(true)
	k.proxy.cut()
	k.refused(engine.Unreachable, engine.Write, "static-roles/app", k.role())
	k.refused(engine.NotFound, engine.Read, "static-roles/app", nil)
	k.proxy.down.Store(false)
	k.must(engine.Write, "static-roles/app", k.role())
	password := k.served()
	k.age(2 * time.Hour)
	k.proxy.down.Store(true)
	k.proxy.cut()
	if done, err := k.run(0); done != 0 || engine.AsError(err).Kind != engine.Unreachable {
		t.Errorf("%d rotated, %v", done, err)
	}
	read := k.must(engine.Read, "static-roles/app", nil).Data
	if read["rotation_failures"] != 1 || !strings.Contains(fmt.Sprint(read["rotation_error"]), "error verifying connection") {
		t.Errorf("read says %v", read)
	}
	if got := k.served(); got != password { // no rotation had begun
		t.Error("another password is served")
	}
	if ttl := k.must(engine.Read, "static-creds/app", nil).Data["ttl"]; ttl != int64(0) {
		t.Errorf("ttl %v of an overdue rotation", ttl)
	}
	k.proxy.down.Store(false)
	if done, err := k.run(0); done != 1 || err != nil {
		t.Errorf("%d rotated, %v", done, err)
	}
	if k.served() == password || k.static().Failure.Attempts != 0 {
		t.Error("the rotation did not go on")
	}
	var failed event.Data
	for _, ev := range k.events() {
		if ev.Type == event.AccountRotationFailed {
			failed = ev.Data
		}
	}
	if failed.Actor.Name != lease.ActorRotation || failed.Account != k.account || failed.Role != "app" || failed.Error == "" || failed.Attempts != 1 {
		t.Errorf("the event of the failure says %+v", failed)
	}
}

// Where Curfew may not log in as the account, the answer to the COMMIT is the
// proof; a rotation that broke off is not guessed about, and ended by the next.
func TestStaticRoleThatCurfewMayNotTry(t *testing.T) {
	t.Parallel()
	cluster := testkit.Postgres(t)
	k := newKeeping(t, cluster.CreateAdmin(t, testkit.CreateRoleAdmin))
	var file string
	if err := k.super(t.Context(), `SELECT current_setting('hba_file')`, nil, &file); err != nil {
		t.Fatal(err)
	}
	hba := func(method string) {
		t.Helper()
		cluster.Exec(t, "postgres", fmt.Sprintf(
			`COPY (SELECT unnest(ARRAY['host all "%s" all %s', 'host all all all scram-sha-256', 'local all all scram-sha-256'])) TO '%s'`, k.account, method, file))
		cluster.Exec(t, "postgres", `SELECT pg_reload_conf()`)
	}
	tried := func() error {
		conn, err := k.connect(t.Context(), k.account, k.first)
		if err == nil {
			_ = conn.Close(t.Context())
		}
		return err
	}
	hba("reject")
	for end := time.Now().Add(soon); tried() == nil && time.Now().Before(end); {
		time.Sleep(5 * time.Millisecond)
	}
	k.must(engine.Write, "static-roles/app", k.role())
	k.must(engine.Write, "rotate-role/app", nil)
	if _, _, err := k.pendStatic(t.Context(), k.static().ID, &k.stored("db").connection, rotation{by: lease.Actor{Name: "died"}}); err != nil {
		t.Fatal(err)
	}
	k.refused(engine.Conflict, engine.Read, "static-creds/app", nil, "pg_hba.conf")
	k.must(engine.Write, "rotate-role/app", nil)
	given, _ := k.must(engine.Read, "static-creds/app", nil).Data["password"].(string)
	hba("scram-sha-256")
	for end := time.Now().Add(soon); strings.Contains(fmt.Sprint(tried()), "28000") && time.Now().Before(end); {
		time.Sleep(5 * time.Millisecond)
	}
	if !k.takes(given) || given != k.served() {
		t.Error("the password that was served does not work")
	}
}
