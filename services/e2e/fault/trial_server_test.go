//go:build e2e

package fault

import (
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/curfew-project/curfew/shared/testkit"
)

// Faults of a target's server, and of the way to it.

// delay is what each answer of a slow target takes longer.
const delay = 250 * time.Millisecond

// slow: every answer of the target is late. Leases end, later than elsewhere.
func (s *trial) slow() time.Time {
	p := slowly(s, fmt.Sprintf("%s:%d", s.g.Host(), s.g.Port()), delay)
	direct := s.g.connection(s, s.g.admin.User, s.g.admin.Password)
	s.g.address = p
	s.write("config/db", s.g.connection(s, s.g.admin.User, s.g.admin.Password))
	u, err := url.Parse(s.g.URL(s.g.admin.User, s.g.admin.Password, s.g.admin.Database))
	must(s, err, "parse the URL")
	u.Host = p
	began := time.Now()
	conn, err := pgx.Connect(s.Context(), u.String())
	must(s, err, "log in")
	if took := time.Since(began); took < 2*delay {
		s.Fatalf("the target answers within %v", took)
	}
	must(s, conn.Close(s.Context()), "log out")
	var brief, held []credential
	for range 5 {
		brief, held = append(brief, s.brief()), append(held, s.hold("app"))
	}
	for i, cred := range held[:3] {
		s.end(cred, i == 0)
	}
	s.gone(append(brief, held[:3]...)...)
	s.rounds = len(brief) + len(held)
	s.g.address = ""
	s.write("config/db", direct)
	return time.Now()
}

// cut: the connection ends after any number of bytes of a revocation, in either
// direction: in each of its stages, and while it logs in again (C1).
func (s *trial) cut() time.Time {
	const step = 300 // bytes
	for _, d := range []testkit.Direction{testkit.ToServer, testkit.FromServer} {
		idle := 0
		for after := 0; idle < 3; after += step {
			cred := s.hold("app")
			before := s.proxy.Cuts(d)
			s.proxy.Cut(d, after)
			s.end(cred, false)
			s.gone(cred)
			if s.proxy.Uncut(d); s.proxy.Cuts(d) > before {
				s.rounds++
				idle = 0
			} else {
				idle++ // the revocation needs no more bytes than that
			}
		}
	}
	s.Logf("%d connections were cut", s.rounds)
	if s.rounds < 10 {
		s.Errorf("only %d connections were cut: the test is of no use", s.rounds)
	}
	return time.Now()
}

// terminate ends sessions of Curfew's, as the superuser.
func (s *trial) terminate(which string, args ...any) (n int) {
	s.Helper()
	return value[int](s, "SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM pg_stat_activity WHERE "+which, args...)
}

// killed: Curfew's sessions are ended by the target in each stage: while it
// disables, while it waits for sessions that are starting, while it drops, and all
// of them again and again (C1).
func (s *trial) killed() time.Time {
	all := func() int { return s.terminate("usename = $1", s.g.admin.User) }
	// Stage (a), and stage (c).
	for _, lock := range []func(credential) string{
		func(c credential) string { return fmt.Sprintf("ALTER ROLE %q CONNECTION LIMIT 5", c.user) },
		func(c credential) string { return fmt.Sprintf("REVOKE readers FROM %q", c.user) },
	} {
		cred := s.hold("app")
		release := s.elsewhere(lock(cred))
		s.end(cred, false)
		s.eventually(cleanWithin, "a session that waits was ended", func() bool {
			return s.terminate("usename = $1 AND wait_event_type = 'Lock'", s.g.admin.User) > 0
		})
		s.rounds++
		release()
		s.gone(cred)
	}
	// Stage (b): a client that is starting is waited for.
	cred := s.hold("app")
	late := make(chan error, 1)
	go func() {
		conn, err := pgx.Connect(s.Context(), s.g.URL(cred.user, cred.password, s.g.admin.Database, "options=-cpost_auth_delay=4"))
		if err == nil {
			_, err = conn.Exec(s.Context(), "SELECT count(*) FROM items")
			_ = conn.Close(lasting()) // it was ended
		}
		late <- err
	}()
	s.eventually(cleanWithin, "a client is starting", func() bool {
		return value[bool](s, `SELECT EXISTS (SELECT FROM pg_locks l WHERE l.locktype = 'virtualxid' AND l.pid <> pg_backend_pid()
			AND NOT EXISTS (SELECT FROM pg_stat_activity a WHERE a.pid = l.pid AND (a.usesysid IS NOT NULL OR a.datid IS NOT NULL)))`)
	})
	s.end(cred, false)
	s.barred(onTime, cred)
	s.rounds += all()
	s.gone(cred)
	if err := <-late; err == nil {
		s.Error("a session that started slowly reads after the account is gone")
	}
	// Any stage, stage (d) too.
	var creds []credential
	for range 40 {
		creds = append(creds, s.hold("app"))
	}
	for i, cred := range creds {
		s.end(cred, false)
		if i%2 == 0 {
			s.rounds += all()
		}
	}
	for until := time.Now().Add(3 * time.Second); time.Now().Before(until); time.Sleep(pace) {
		s.rounds += all()
	}
	up := time.Now()
	s.gone(creds...)
	return up
}

// password: people change the admin's password. Revocations need a person then and
// say why; logins of leases that ran out end by VALID UNTIL (B8); and all goes on by
// itself once the connection has the new password (C8).
func (s *trial) password() time.Time {
	held, brief := s.hold("app"), s.brief()
	s.sql(fmt.Sprintf("ALTER ROLE %s PASSWORD 'of-the-people'", s.g.admin.User))
	s.rounds = s.terminate("usename = $1", s.g.admin.User)
	if err := s.g.login(s.Context(), s.g.admin.User, s.g.admin.Password); !refused(err) {
		s.Fatalf("the old password is not refused: %v", err)
	}
	s.end(held, false)
	s.parks(held, "password authentication failed")
	s.parks(brief, "password authentication failed")
	if cred, err := s.w.issue(s.Context(), s.c, s.g.mount+"/creds/app"); err == nil {
		s.Errorf("%s was issued without a connection", cred.user)
	}
	s.eventually(cleanWithin, "VALID UNTIL closes the login", func() bool {
		return refused(s.g.login(s.Context(), brief.user, brief.password))
	})
	s.g.admin.Password = "of-the-people"
	s.write("config/db", s.g.connection(s, s.g.admin.User, s.g.admin.Password))
	up := time.Now()
	s.gone(held, brief)
	s.Logf("they were gone %v after the connection was written", time.Since(up).Round(time.Millisecond))
	return up
}

// standby: sessions on a standby that the connection names end, too, also where it
// lags or is away meanwhile (C3).
func (s *trial) standby() time.Time {
	copied := s.g.Standby(s)
	data := s.g.connection(s, s.g.admin.User, s.g.admin.Password)
	data["replicas"] = []string{fmt.Sprintf("postgresql://{{username}}:{{password}}@%s:%d/%s?sslmode=disable", copied.Host(), copied.Port(), s.g.admin.Database)}
	s.write("config/db", data)
	reader := func() (credential, *pgx.Conn) {
		cred := s.hold("app")
		copied.WaitReplay(s, s.g.Cluster)
		conn, err := pgx.Connect(s.Context(), copied.URL(cred.user, cred.password, s.g.admin.Database))
		must(s, err, "log in to the standby")
		s.Cleanup(func() { _ = conn.Close(lasting()) }) // it was ended
		return cred, conn
	}
	ended := func(conn *pgx.Conn) {
		s.Helper()
		if _, err := conn.Exec(s.Context(), "SELECT count(*) FROM items"); err == nil {
			s.Error("a session on the standby reads on")
		}
	}
	cred, conn := reader()
	s.end(cred, true)
	ended(conn)
	// It lags: what it has not heard of it cannot refuse.
	cred, conn = reader()
	copied.Exec(s, "postgres", "SELECT pg_wal_replay_pause()")
	s.end(cred, false)
	s.barred(onTime, cred)
	time.Sleep(3 * time.Second) // for a mistake to show
	if there, _ := s.there(cred); !there {
		s.Error("the account is gone, and the standby has not heard of it")
	}
	copied.Exec(s, "postgres", "SELECT pg_wal_replay_resume()")
	s.gone(cred)
	ended(conn)
	// It is away.
	cred, conn = reader()
	copied.Kill(s)
	s.end(cred, false)
	s.barred(onTime, cred)
	time.Sleep(3 * time.Second) // for a mistake to show
	if there, _ := s.there(cred); !there {
		s.Error("the account is gone, and the standby is away")
	}
	copied.Start(s)
	up := time.Now()
	s.gone(cred)
	ended(conn)
	s.rounds = 3
	s.write("config/db", map[string]any{"replicas": []string{}})
	return up
}

// moved: the connection leads to another server, because somebody edited it, or
// because the name leads elsewhere. What is not there proves nothing (C6).
func (s *trial) moved() time.Time {
	other := testkit.Postgres(s)
	for _, sql := range []string{
		fmt.Sprintf("CREATE ROLE %s CREATEROLE LOGIN PASSWORD '%s'", s.g.admin.User, s.g.admin.Password),
		"GRANT pg_signal_backend TO " + s.g.admin.User, "CREATE ROLE readers", "GRANT readers TO " + s.g.admin.User + " WITH ADMIN OPTION",
		"CREATE DATABASE " + s.g.admin.Database + " OWNER " + s.g.admin.User,
	} {
		other.Exec(s, "postgres", sql)
	}
	home, there := s.g.address, fmt.Sprintf("%s:%d", other.Host(), other.Port())
	away := func(back func()) time.Time {
		held, brief := s.hold("app"), s.brief()
		if s.rounds == 0 {
			s.g.address = there
			s.write("config/db", s.g.connection(s, s.g.admin.User, s.g.admin.Password))
		} else {
			s.proxy.Redirect(there)
		}
		s.rounds++
		s.end(held, false)
		for _, cred := range []credential{held, brief} {
			s.parks(cred, "target moved")
			if is, _ := s.there(cred); !is {
				s.Errorf("%s is gone from a server that nobody could reach", cred.user)
			}
		}
		back()
		up := time.Now()
		s.gone(held, brief)
		return up
	}
	away(func() {
		s.g.address = home
		s.write("config/db", s.g.connection(s, s.g.admin.User, s.g.admin.Password))
	})
	return away(func() {
		s.proxy.Redirect(fmt.Sprintf("%s:%d", s.g.Host(), s.g.Port()))
		_, err := s.c.Logical().Write("sys/leases/retry-connection/"+s.g.mount+"/db", nil)
		must(s, err, "try again")
	})
}

// restored: the target is put back to an earlier state, cold at its address, and
// from a copy with a timeline of its own behind it. Accounts whose leases have ended
// come back and go again; those that the backup lacks are gone, which ends their
// leases when somebody asks; the others work (C6).
func (s *trial) restored() time.Time {
	s.backup(func() (restore func()) {
		data := filepath.Join(s.g.Dir(), "data")
		saved := filepath.Join(s.g.Dir(), "saved")
		s.g.Stop(s, testkit.Fast)
		copyTree(s, data, saved)
		s.g.Start(s)
		return func() {
			s.g.Stop(s, testkit.Fast)
			must(s, os.RemoveAll(data), "remove what is newer")
			must(s, os.Rename(saved, data), "restore the backup")
			s.g.Start(s)
		}
	})
	return s.backup(func() (restore func()) {
		saved := s.g.Standby(s)
		saved.WaitReplay(s, s.g.Cluster)
		saved.Stop(s, testkit.Fast)
		return func() {
			s.g.Kill(s)
			saved.Start(s)
			saved.Promote(s)
			s.g.Cluster = saved
			s.proxy.Redirect(s.g.Host() + ":" + strconv.Itoa(saved.Port()))
		}
	})
}

// backup does a restore of what save saved.
func (s *trial) backup(save func() (restore func())) (up time.Time) {
	s.Helper()
	kept, back := s.hold("app"), s.hold("app")
	restore := save()
	s.g.again(s.T)
	s.eventually(cleanWithin, "credentials are issued", func() bool {
		lost, err := s.w.issue(s.Context(), s.c, s.g.mount+"/creds/app")
		if err != nil {
			return false
		}
		s.w.book.asks(lost)
		defer s.end(lost, true)
		s.end(back, true)
		s.proxy.Down()
		restore()
		s.g.again(s.T)
		s.rounds++
		if there, _ := s.there(back); !there {
			s.Error("the account is not back: the test is of no use")
		}
		if there, _ := s.there(lost); there {
			s.Error("the backup has an account that is younger: the test is of no use")
		}
		s.w.book.note(func() { s.w.book.remade[back.user] = true })
		s.proxy.Up()
		up = time.Now()
		return true
	})
	s.gone(back)
	s.Logf("an account that was back was gone %v later", time.Since(up).Round(time.Millisecond))
	must(s, s.g.login(s.Context(), kept.user, kept.password), "log in as one that is in the backup")
	s.end(kept, true)
	return up
}

// copyTree copies as an operator does: with owners, modes and times.
func copyTree(s *trial, from, to string) {
	s.Helper()
	if out, err := exec.CommandContext(s.Context(), "cp", "-a", from, to).CombinedOutput(); err != nil {
		s.Fatalf("copy %s: %v\n%s", from, err, out)
	}
}
