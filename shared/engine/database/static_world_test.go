//go:build integration || fault

package database

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/testkit"
)

// keeping is a site with an account that people made.
type keeping struct {
	*site
	account, first string
}

// newKeeping makes the account, and lets the admin change it.
func newKeeping(tb testing.TB, admin *testkit.Admin) *keeping {
	tb.Helper()
	k := &keeping{site: newSite(tb, admin), account: "app-" + strings.ToLower(lease.RandomBase62(8)), first: "of-the-people"}
	_, err := k.fake.Write(tb.Context(), store.Write{Puts: []store.Entry{{Kind: store.KindMount, Key: mount, ID: mountID, Value: []byte(`{}`)}}})
	if err != nil {
		tb.Fatal(err)
	}
	k.make(k.account)
	return k
}

// make makes an account as a superuser does, with what version 16 asks for.
func (k *keeping) make(account string) {
	k.tb.Helper()
	k.admin.Cluster().Exec(k.tb, "postgres", fmt.Sprintf(`CREATE ROLE %q LOGIN PASSWORD '%s'`, account, k.first))
	if k.admin.Kind == testkit.CreateRoleAdmin {
		k.admin.Cluster().Exec(k.tb, "postgres", fmt.Sprintf(`GRANT %q TO %q WITH ADMIN OPTION`, account, k.admin.User))
	}
}

// role is a static role's body.
func (k *keeping) role(more ...string) map[string]any {
	d := map[string]any{"db_name": "db", "username": k.account, "rotation_period": "1h"}
	for n := 0; n+1 < len(more); n += 2 {
		d[more[n]] = more[n+1]
	}
	return d
}

// takes reports whether the server takes a password.
func (k *keeping) takes(password string) bool {
	k.tb.Helper()
	conn, err := k.connect(k.tb.Context(), k.account, password)
	if err == nil {
		_ = conn.Close(k.tb.Context())
		return true
	}
	if pg := (*pgconn.PgError)(nil); !errors.As(err, &pg) || pg.Code != "28P01" {
		k.tb.Fatalf("log in as %s: %v", k.account, err)
	}
	return false
}

// served is the password that static-creds gives, which has to work.
func (k *keeping) served() string {
	k.tb.Helper()
	r := k.must(engine.Read, "static-creds/app", nil)
	password, _ := r.Data["password"].(string)
	if !k.takes(password) {
		k.tb.Error("the password that is served does not work")
	}
	return password
}

// process is an engine of another process, with a store of its own making.
func (k *keeping) process(s Store, within time.Duration) *keeping {
	k.tb.Helper()
	e, err := New(Deps{Store: s, Sealer: k.sealer, Clock: clock.System{}, Log: zerolog.New(k.logs)}, Config{Program: "test", Static: within})
	if err != nil {
		k.tb.Fatal(err)
	}
	k.tb.Cleanup(func() {
		if err := e.Close(k.tb.Context()); err != nil && k.tb.Context().Err() == nil {
			k.tb.Error(err)
		}
	})
	return &keeping{
		site:    &site{bench: &bench{Engine: e, tb: k.tb, fake: k.fake, sealer: k.sealer, logs: k.logs}, admin: k.admin, proxy: k.proxy},
		account: k.account, first: k.first,
	}
}

// run does what the revoker does: it rotates what is due up to a time ahead, and
// returns how many were.
func (k *keeping) run(ahead time.Duration) (done int, err error) {
	k.tb.Helper()
	now, err := k.fake.Now(k.tb.Context())
	if err != nil {
		k.tb.Fatal(err)
	}
	due, err := k.Rotations(k.tb.Context(), now.Add(ahead))
	for _, r := range due {
		rotated, failed := k.Rotate(k.tb.Context(), r, nil)
		err = errors.Join(err, failed)
		if rotated {
			done++
		}
	}
	return done, err
}

// static is the role as it is stored.
func (k *keeping) static() *storedStatic {
	k.tb.Helper()
	s, err := k.staticByName(k.tb.Context(), mountID, "app")
	if err != nil || s == nil {
		k.tb.Fatalf("static role: %v", err)
	}
	return s
}

// age makes the role's last rotation older.
func (k *keeping) age(by time.Duration) {
	k.tb.Helper()
	err := k.editStatic(k.tb.Context(), k.static().ID, func(s *storedStatic) (*event.Event, error) {
		s.LastRotation = s.LastRotation.Add(-by)
		return s.edited(system(), engine.Write, "made older by a test", nil), nil
	})
	if err != nil {
		k.tb.Fatal(err)
	}
}

// count counts the events of a type.
func (k *keeping) count(of event.Type) (n int) {
	k.tb.Helper()
	for _, ev := range k.events() {
		if ev.Type == of {
			n++
		}
	}
	return n
}

// elsewhere is a store in which the connection has another address.
type elsewhere struct {
	Store
	was, is string
}

func (e *elsewhere) moved(entry store.Entry, err error) (store.Entry, error) {
	if entry.Kind == store.KindConnection {
		entry.Value = []byte(strings.ReplaceAll(string(entry.Value), e.was, e.is))
	}
	return entry, err
}

func (e *elsewhere) Entry(ctx context.Context, kind store.Kind, key string) (store.Entry, error) {
	return e.moved(e.Store.Entry(ctx, kind, key))
}

func (e *elsewhere) EntryByID(ctx context.Context, kind store.Kind, id string) (store.Entry, error) {
	return e.moved(e.Store.EntryByID(ctx, kind, id))
}
