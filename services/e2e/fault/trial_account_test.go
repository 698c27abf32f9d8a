//go:build e2e

package fault

import (
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/curfew-project/curfew/shared/testkit"
)

// Faults of accounts: what was done to them, or what they did.

// dropped: people drop accounts; that they are gone is success (C6, C7).
func (s *trial) dropped() time.Time {
	held, brief := s.hold("app"), s.brief()
	s.w.book.asks(held)
	s.sql(fmt.Sprintf("DROP ROLE %q", held.user), fmt.Sprintf("DROP ROLE %q", brief.user))
	if there, _ := s.there(held); there {
		s.Fatal("the account is there")
	}
	up := time.Now()
	s.end(held, true)
	s.rounds = 2
	// One with a session: that is ended, too, though nobody can tell whose it is (C2).
	ghost := s.hold("app")
	conn := s.session(ghost, s.g.admin.Database)
	s.w.book.asks(ghost)
	s.sql(fmt.Sprintf("DROP ROLE %q", ghost.user))
	s.end(ghost, false)
	s.rounds++
	s.eventually(cleanWithin, "the session of a dropped account ends", func() bool { return conn.Ping(s.Context()) != nil })
	return up
}

// owners: accounts own tables with rows, schemas and default privileges in two
// databases of the server. Nothing of that is destroyed (C5).
func (s *trial) owners() time.Time {
	databases := []string{s.g.admin.Database, s.g.admin.NewDatabase(s)}
	held, brief := s.hold("app"), s.brief()
	for i, cred := range []credential{held, brief} {
		for _, database := range databases {
			s.g.Exec(s, database, fmt.Sprintf(`CREATE SCHEMA attic%[1]d; CREATE TABLE attic%[1]d.harvest AS SELECT 42 AS n;
				CREATE TABLE harvest%[1]d (n int); INSERT INTO harvest%[1]d SELECT generate_series(1, 1000);
				CREATE FUNCTION attic%[1]d.f() RETURNS int LANGUAGE sql AS 'SELECT 1';
				ALTER SCHEMA attic%[1]d OWNER TO %[2]q; ALTER TABLE attic%[1]d.harvest OWNER TO %[2]q;
				ALTER TABLE harvest%[1]d OWNER TO %[2]q; ALTER FUNCTION attic%[1]d.f() OWNER TO %[2]q;
				ALTER DEFAULT PRIVILEGES FOR ROLE %[2]q GRANT SELECT ON TABLES TO readers;
				ALTER DEFAULT PRIVILEGES FOR ROLE %[2]q IN SCHEMA public GRANT ALL ON SEQUENCES TO readers`, i, cred.user))
		}
	}
	up := time.Now()
	s.end(held, true)
	s.gone(brief)
	s.rounds = 2 * len(databases)
	for _, database := range databases {
		conn := testkit.Connect(s, s.g.AdminURL(database))
		for i := range 2 {
			var rows, n, of int
			var owners string
			must(s, conn.QueryRow(s.Context(), fmt.Sprintf(`SELECT (SELECT count(*) FROM harvest%[1]d), (SELECT n FROM attic%[1]d.harvest), attic%[1]d.f(),
				(SELECT string_agg(DISTINCT o, ' ') FROM (SELECT pg_get_userbyid(relowner) o FROM pg_class WHERE relname LIKE 'harvest%%'
				UNION SELECT pg_get_userbyid(nspowner) FROM pg_namespace WHERE nspname LIKE 'attic%%') x)`, i)).Scan(&rows, &n, &of, &owners), "read what was owned")
			if rows != 1000 || n != 42 || of != 1 || owners != s.g.admin.User {
				s.Errorf("of what an account owned there are %d rows and %d, and it belongs to %s", rows, n, owners)
			}
		}
	}
	return up
}

// prepared: transactions that accounts prepared for two-phase commit outlive their
// sessions. What holds: nobody logs in, the revocation waits and says why, and goes
// on once the superuser has ended the transaction.
func (s *trial) prepared() time.Time {
	s.sql("GRANT CREATE ON SCHEMA public TO readers")
	var creds []credential
	for i, text := range []string{"SELECT count(*) FROM items", "CREATE TABLE prepared%d (n int)", "CREATE TABLE prepared%d (n int)"} {
		cred := s.hold("app")
		creds = append(creds, cred)
		if i > 0 {
			text = fmt.Sprintf(text, i)
		}
		conn := s.session(cred, s.g.admin.Database)
		for _, text := range []string{"BEGIN", text, fmt.Sprintf("PREPARE TRANSACTION 'p%d'", i)} {
			_, err := conn.Exec(s.Context(), text)
			must(s, err, text)
		}
	}
	s.rounds = len(creds)
	if n := value[int](s, "SELECT count(*) FROM pg_prepared_xacts"); n != len(creds) {
		s.Fatalf("%d transactions are prepared", n)
	}
	for _, cred := range creds {
		s.end(cred, false)
	}
	s.barred(cleanWithin, creds...)
	// Others of the target are not held up by it (B7).
	brief := s.brief()
	s.gone(brief)
	for _, cred := range creds[1:] {
		if there, _ := s.there(cred); !there {
			s.Errorf("%s is gone, and its transaction is not", cred.user)
		}
	}
	s.sql("ROLLBACK PREPARED 'p0'", "COMMIT PREPARED 'p1'", "ROLLBACK PREPARED 'p2'")
	up := time.Now()
	s.gone(creds...)
	if owner := value[string](s, "SELECT tableowner::text FROM pg_tables WHERE tablename = 'prepared1'"); owner != s.g.admin.User {
		s.Errorf("what was committed belongs to %s", owner)
	}
	return up
}

// grantor: what somebody else granted keeps the account. It cannot log in, its
// revocation names the grant, and goes on when that was revoked (C5, C8).
func (s *trial) grantor() time.Time {
	held, brief := s.hold("app"), s.brief()
	s.sql("CREATE TABLE foreign_ground (n int)")
	for _, cred := range []credential{held, brief} {
		s.sql(fmt.Sprintf("GRANT SELECT ON foreign_ground TO %q", cred.user))
	}
	s.rounds = 2
	s.end(held, false)
	for _, cred := range []credential{held, brief} {
		s.parks(cred, "foreign_ground")
		s.barred(onTime, cred)
		s.sql(fmt.Sprintf("REVOKE SELECT ON foreign_ground FROM %q", cred.user))
	}
	up := time.Now()
	_, err := s.c.Logical().Write("sys/leases/retry-prefix/"+s.g.mount, nil)
	must(s, err, "try again")
	s.gone(held, brief)
	return up
}

// hide: sessions that start slowly, that act as another role, and that come back
// as soon as they are ended (C2).
func (s *trial) hide() time.Time {
	up := time.Now()
	for range 3 {
		cred := s.hold("app")
		as := s.session(cred, s.g.admin.Database)
		_, err := as.Exec(s.Context(), "SET ROLE readers")
		must(s, err, "act as a group")
		late := make(chan *pgx.Conn, 1)
		go func() {
			conn, _ := pgx.Connect(s.Context(), s.g.URL(cred.user, cred.password, s.g.admin.Database, "options=-cpost_auth_delay=5"))
			late <- conn
		}()
		s.eventually(cleanWithin, "a client is starting", func() bool {
			return value[bool](s, `SELECT EXISTS (SELECT FROM pg_locks l WHERE l.locktype = 'virtualxid' AND l.pid <> pg_backend_pid()
				AND NOT EXISTS (SELECT FROM pg_stat_activity a WHERE a.pid = l.pid AND (a.usesysid IS NOT NULL OR a.datid IS NOT NULL)))`)
		})
		loops := make(chan struct{})
		go func() {
			defer close(loops)
			for in := true; in; { // until it is shut out
				in = s.g.login(s.Context(), cred.user, cred.password) == nil
			}
		}()
		s.end(cred, true)
		s.rounds++
		up = time.Now()
		<-loops
		if n := value[int](s, "SELECT count(*) FROM pg_stat_activity a WHERE usesysid IS NOT NULL AND NOT EXISTS (SELECT FROM pg_roles r WHERE r.oid = a.usesysid)"); n > 0 {
			s.Errorf("%d sessions of accounts that are gone", n)
		}
		if _, err := as.Exec(s.Context(), "SELECT count(*) FROM items"); err == nil {
			s.Error("a session that acts as another role reads on")
		}
		if conn := <-late; conn != nil {
			if _, err := conn.Exec(s.Context(), "SELECT count(*) FROM items"); err == nil {
				s.Error("a session that started slowly reads on")
			}
			_ = conn.Close(lasting()) // it was ended
		}
	}
	return up
}

// locks: transactions of others hold the rows of accounts, and tables that they
// own, longer than any limit of a statement. The others of the target do not wait
// (B6, B7), and what waited goes on when the lock is free.
func (s *trial) locks() time.Time {
	var up time.Time
	for _, held := range []struct {
		what string
		lock func(cred credential) []string
		bar  bool // the account cannot even be disabled
	}{
		{"the account", func(c credential) []string { return []string{fmt.Sprintf("ALTER ROLE %q CONNECTION LIMIT 5", c.user)} }, true},
		{"a table that it owns", func(c credential) []string {
			s.sql("CREATE TABLE held (n int)", fmt.Sprintf("ALTER TABLE held OWNER TO %q", c.user))
			return []string{"LOCK TABLE held IN ACCESS EXCLUSIVE MODE"}
		}, false},
		{"its membership", func(c credential) []string { return []string{fmt.Sprintf("REVOKE readers FROM %q", c.user)} }, false},
		{"all memberships", func(credential) []string {
			return []string{"LOCK TABLE pg_catalog.pg_auth_members IN SHARE MODE"}
		}, false},
	} {
		cred, neighbour := s.hold("app"), s.brief()
		release := s.elsewhere(held.lock(cred)...)
		s.end(cred, false)
		pid := s.waits()
		s.rounds++
		s.barred(onTime+3*time.Second, neighbour)
		if !held.bar {
			s.barred(onTime, cred)
		}
		time.Sleep(3 * time.Second) // longer than lock_timeout: the statement gave up
		if there, _ := s.there(cred); !there {
			s.Errorf("%s is held, and the account is gone", held.what)
		}
		release()
		up = time.Now()
		s.gone(cred, neighbour)
		s.Logf("%s was held, and session %d waited; gone %v after it was free", held.what, pid, time.Since(up).Round(time.Millisecond))
	}
	return up
}

// sleepers: roles whose statements take longer than a batch may. The overdue
// leases beside them are not behind them (B7).
func (s *trial) sleepers() time.Time {
	for name, seconds := range map[string]int{"slow": 3, "slower": 7} { // less, and more, than a batch may take
		slow := role(longTTL)
		slow["revocation_statements"] = fmt.Sprintf("SELECT pg_catalog.pg_sleep(%d);", seconds)
		s.write("roles/"+name, slow)
	}
	late := role(longTTL)
	late["creation_statements"] = creation + ` SELECT pg_catalog.pg_sleep(1.5);`
	s.write("roles/late", late)
	var creds, neighbours []credential
	for range 2 {
		creds = append(creds, s.hold("slow"), s.hold("slower"))
	}
	late1 := make(chan credential, 1)
	go func() {
		cred, err := s.w.issue(s.Context(), s.c, s.g.mount+"/creds/late")
		if err == nil {
			s.w.book.hold(cred)
		}
		late1 <- cred
	}()
	for range 10 {
		neighbours = append(neighbours, s.brief())
	}
	for _, cred := range creds {
		s.end(cred, false)
		s.rounds++
	}
	s.eventually(cleanWithin, "a statement sleeps", func() bool {
		return value[bool](s, "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE usename = $1 AND wait_event = 'PgSleep')", s.g.admin.User)
	})
	began := time.Now()
	s.barred(onTime, creds...) // what is slow comes after
	s.barred(3*time.Second+onTime, neighbours...)
	s.gone(neighbours...)
	s.Logf("beside %d slow ones, %d others were gone after %v", len(creds), len(neighbours), time.Since(began).Round(time.Millisecond))
	if cred := <-late1; cred.user == "" {
		s.Error("the slow creation was not answered")
	}
	s.gone(creds...)
	return time.Now()
}
