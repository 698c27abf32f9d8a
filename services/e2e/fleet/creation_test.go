//go:build e2e

package fleet

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// graceEnds is later than any creation may take: its intent is rolled back.
const graceEnds = 12 * time.Second

// inCreation ends or freezes every issuer while the target holds
// their creations up. The accounts then come to be when nobody waits for them
// any more, or never; none stays (B1).
func inCreation(t *testing.T, f *fleet) {
	t.Helper()
	must(t, f.target.role(f.client(t), "granted", time.Hour, `GRANT SELECT ON items TO "{{name}}";`), "write role granted")
	issuers := f.named("issuer-")
	for _, fault := range []struct {
		name string
		do   func(t *testing.T, release func())
	}{
		{"killed, creations go on at once", func(t *testing.T, release func()) {
			t.Helper()
			f.kill(t, issuers...)
			release()
			f.start(t)
		}},
		{"killed, creations go on after their grace", func(t *testing.T, release func()) {
			t.Helper()
			f.kill(t, issuers...)
			f.start(t)
			time.Sleep(graceEnds)
			release()
		}},
		{"frozen, creations go on at once", func(t *testing.T, release func()) {
			t.Helper()
			thaw := f.freeze(t, issuers...)
			release()
			time.Sleep(graceEnds)
			thaw()
		}},
		{"frozen, creations go on after their grace", func(t *testing.T, release func()) {
			t.Helper()
			thaw := f.freeze(t, issuers...)
			time.Sleep(graceEnds)
			release()
			thaw()
		}},
	} {
		t.Run(fault.name, func(t *testing.T) {
			release := f.holdUp(t)
			before := f.rolledBack(t)
			var waiting sync.WaitGroup
			for range 8 {
				c := f.client(t)
				waiting.Go(func() {
					cred, err := issue(t.Context(), c, "granted")
					f.book.note(func() {
						if err != nil {
							f.book.errors = append(f.book.errors, err)
							return
						}
						f.book.held[cred.user] = cred
					})
				})
			}
			f.awaitCreations(t, 8)
			fault.do(t, release)
			waiting.Wait()
			f.check(t)
			n := f.rolledBack(t) - before
			t.Logf("%d creations were rolled back", n)
			if n == 0 {
				t.Error("none was rolled back: the test is of no use")
			}
		})
	}
}

// holdUp makes each creation of the role "granted" wait until release: a grant
// that is not committed holds up the next one on the table.
func (f *fleet) holdUp(t *testing.T) (release func()) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), f.target.AdminURL(f.target.admin.Database))
	must(t, err, "log in as the superuser")
	release = sync.OnceFunc(func() { closeConn(t, conn) }) // that rolls back
	t.Cleanup(release)
	for _, sql := range []string{"BEGIN", "GRANT SELECT ON items TO PUBLIC"} {
		_, err = conn.Exec(t.Context(), sql)
		must(t, err, sql)
	}
	return release
}

// awaitCreations waits until the record has so many open intents, and the target
// holds one of them up.
func (f *fleet) awaitCreations(t *testing.T, n int) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), f.target.AdminURL("postgres"))
	must(t, err, "log in as the superuser")
	defer closeConn(t, conn)
	eventually(t, "creations wait", func() error {
		var waiting int
		err := conn.QueryRow(t.Context(),
			"SELECT count(*) FROM pg_stat_activity WHERE usename = $1 AND wait_event_type = 'Lock'", f.target.admin.User).Scan(&waiting)
		if err == nil {
			err = f.read(t)
		}
		if err != nil {
			return err
		}
		if _, open := f.record.active(); waiting == 0 || len(open) < n {
			return fmt.Errorf("%d intents are open, and %d statements wait in the target", len(open), waiting)
		}
		return nil
	})
}

// rolledBack is how many leases never became active.
func (f *fleet) rolledBack(t *testing.T) (n int) {
	t.Helper()
	must(t, f.read(t), "read the record")
	for _, h := range f.record.leases {
		if strings.HasSuffix(h.types(), " rolled_back") {
			n++
		}
	}
	return n
}
