//go:build e2e

package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/curfew-project/curfew/shared/testkit"
)

// story is one server, one target and one client library.
type story struct {
	t      *testing.T // of the chapter that is told
	server *curfew
	target *target
	client
}

// TestStory walks the way of a lease as both articles tell it, with both
// client libraries and both kinds of administrator (C4).
func TestStory(t *testing.T) {
	t.Parallel()
	for library, connect := range clients() {
		for _, kind := range testkit.AdminKinds() {
			t.Run(library+"/"+string(kind), func(t *testing.T) {
				t.Parallel()
				s := newCurfew(t)
				target := articleTarget(t, kind, testkit.Durable())
				st := &story{server: s, target: target, client: connect(t, s)}
				for _, chapter := range []struct {
					name string
					tell func()
				}{
					{"server", st.serverIsThere},
					{"setup", st.setup},
					{"use", st.use},
					{"renew", st.renewal},
					{"revoke", st.revocation},
					{"prefix", st.prefix},
					{"owned", st.owned},
					{"tune", st.tuning},
					{"token", st.tokens},
					{"policy", st.policies},
					{"rotate", st.rotation},
					{"frozen", st.frozen},
					{"disable", st.disabling},
				} {
					// Each goes on where the last one ended.
					if !t.Run(chapter.name, func(t *testing.T) { st.t = t; chapter.tell() }) {
						t.FailNow()
					}
				}
			})
		}
	}
}

func (s *story) serverIsThere() {
	t := s.t
	initialized, sealed, version, err := s.health()
	must(t, err, "health")
	if !initialized || sealed || version == "" {
		t.Errorf("health: initialized %v, sealed %v, version %q", initialized, sealed, version)
	}
	kind, sealed, err := s.sealStatus()
	must(t, err, "seal-status")
	if sealed || kind == "" {
		t.Errorf("seal-status: sealed %v, type %q", sealed, kind)
	}
	self, err := s.lookupSelf()
	must(t, err, "look up the root token")
	want(t, "policies of the root token", plain(self.Data["policies"]), `["root"]`)
	if _, err := s.as(t, "hvs.nobody").lookupSelf(); statusOf(err) != http.StatusForbidden {
		t.Errorf("a token that nobody has: %v", err)
	}
}

// setup is S1.1 and S2.1, with the address, port and sslmode of the target.
func (s *story) setup() {
	t := s.t
	must(t, s.mount("database", "database"), "enable the engine")
	if err := s.mount("database", "database"); statusOf(err) != http.StatusBadRequest {
		t.Errorf("enable the engine twice: %v", err)
	}
	for name, role := range map[string]string{"my-postgres": "readonly", "my-postgresql": "app-readonly"} {
		_, err := s.write("database/config/"+name, map[string]any{
			"plugin_name": "postgresql-database-plugin", "allowed_roles": role,
			"connection_url": s.target.template(), "username": "vault_admin", "password": "s3cr3t",
		})
		must(t, err, "configure "+name)
	}
	_, err := s.write("database/roles/readonly", map[string]any{
		"db_name": "my-postgres", "creation_statements": s1Creation, "default_ttl": "1h", "max_ttl": "24h",
	})
	must(t, err, "write role readonly")
	_, err = s.write("database/roles/app-readonly", map[string]any{
		"db_name": "my-postgresql", "creation_statements": s2Creation, "revocation_statements": s2Revocation,
		"default_ttl": "1h", "max_ttl": "24h",
	})
	must(t, err, "write role app-readonly")

	role, err := s.read("database/roles/readonly")
	must(t, err, "read the role")
	want(t, "default_ttl", plain(role.Data["default_ttl"]), "3600")
	want(t, "creation_statements", plain(role.Data["creation_statements"]), plain([]string{s1Creation}))
	config, err := s.read("database/config/my-postgres")
	must(t, err, "read the connection")
	if text := plain(config.Data); strings.Contains(text, "s3cr3t") || !strings.Contains(text, "{{password}}") {
		t.Errorf("the connection reads back as %s", text)
	}
	all, err := s.mounts()
	must(t, err, "read the mounts")
	want(t, "type of database/", all["database/"].Type, "database")
	listed, err := s.list("sys/mounts") // S1.6
	must(t, err, "list the mounts")
	want(t, "LIST sys/mounts", plain(listed.keys()), `["database/","sys/"]`)
}

func (s *story) use() {
	t := s.t
	cred := issue(t, s, "database/creds/readonly")
	term(t, cred.duration, time.Hour)
	if !strings.HasPrefix(cred.user, "v-root-readonly-") || !strings.HasPrefix(cred.lease, "database/creds/readonly/") {
		t.Errorf("user %q, lease %q", cred.user, cred.lease)
	}
	conn := s.target.login(t, cred)
	var n int
	must(t, conn.QueryRow(t.Context(), "SELECT count(*) FROM items").Scan(&n), "read the table")
	want(t, "rows", n, 2)
	_, err := conn.Exec(t.Context(), "DELETE FROM items")
	want(t, "SQLSTATE of a write", sqlState(err), "42501")

	found, err := s.lookup(cred.lease)
	must(t, err, "look the lease up")
	want(t, "id", found.text("id"), cred.lease)
	want(t, "last_renewal", found.Data["last_renewal"], nil)
	s.validUntil(cred)
	keys, err := s.list("sys/leases/lookup/database/creds/readonly")
	must(t, err, "list the leases")
	want(t, "leases", plain(keys.keys()), plain([]string{strings.TrimPrefix(cred.lease, "database/creds/readonly/")}))
	must(t, s.revoke(cred.lease, true), "revoke")
}

// validUntil compares the last fence in the target with the expiry that the
// server tells: it is 5 s later (B8).
func (s *story) validUntil(cred credential) {
	t := s.t
	t.Helper()
	found, err := s.lookup(cred.lease)
	must(t, err, "look the lease up")
	expires, err := time.Parse(time.RFC3339Nano, found.text("expire_time"))
	must(t, err, "read the expiry")
	conn := s.target.super(t, "postgres")
	defer closeConn(conn)
	var until time.Time
	must(t, conn.QueryRow(t.Context(), "SELECT rolvaliduntil FROM pg_roles WHERE rolname = $1", cred.user).Scan(&until), "read VALID UNTIL")
	// Later, never earlier: what was left of the time to live was handed to the
	// target before the store's commit, or computed after it.
	if margin := until.Sub(expires); margin < 4*time.Second || margin > 5*time.Second+hang {
		t.Errorf("VALID UNTIL is %v after the expiry, want 5s", margin)
	}
}

func (s *story) renewal() {
	t := s.t
	cred := issue(t, s, "database/creds/readonly")
	conn := s.target.login(t, cred)
	for _, c := range []struct {
		increment int
		want      time.Duration
		warned    bool
	}{{0, time.Hour, false}, {7200, 2 * time.Hour, false}, {100 * 3600, 24 * time.Hour, true}, {60, time.Minute, false}} {
		got, err := s.renew(cred.lease, c.increment)
		must(t, err, "renew")
		want(t, "lease of the renewal", got.LeaseID, cred.lease)
		if d := time.Duration(got.Duration) * time.Second; d > c.want || d < c.want-hang {
			t.Errorf("renewed by %d s: got %v, want %v", c.increment, d, c.want)
		}
		if warned := strings.Contains(plain(got.Warnings), "exceeded the effective max_ttl"); warned != c.warned {
			t.Errorf("renewed by %d s: warnings %v", c.increment, got.Warnings)
		}
		s.validUntil(cred)
	}
	var one int
	must(t, conn.QueryRow(t.Context(), "SELECT 1").Scan(&one), "use the session after renewals")
	must(t, s.revoke(cred.lease, true), "revoke")
}

func (s *story) revocation() {
	t := s.t
	for _, sync := range []bool{true, false} {
		cred := issue(t, s, "database/creds/readonly")
		conn := s.target.login(t, cred)
		must(t, s.revoke(cred.lease, sync), "revoke")
		if sync && s.target.exists(t, cred.user) {
			t.Error("a synchronous revocation answered before the account was gone (C9)")
		}
		s.target.gone(t, cred.user)
		if err := conn.Ping(t.Context()); err == nil {
			t.Error("a session outlived its account")
		}
		if s.target.works(t, cred) {
			t.Error("a revoked credential logs in")
		}
		_, err := s.renew(cred.lease, 0)
		want(t, "status of a renewal", statusOf(err), http.StatusBadRequest)
		s.ended(cred)
		must(t, s.revoke(cred.lease, sync), "revoke again")
	}
}

// ended waits until a lease is not found any more. That is after the account is
// gone: its absence is proved in between.
func (s *story) ended(cred credential) {
	t := s.t
	t.Helper()
	eventually(t, hang, func() error {
		found, err := s.lookup(cred.lease)
		if statusOf(err) != http.StatusBadRequest {
			return fmt.Errorf("a revoked lease is found: %v (status %d)", found, statusOf(err))
		}
		return nil
	})
}

// prefix: only the leases below it go, and S2's role leaves nothing behind.
func (s *story) prefix() {
	t := s.t
	other := issue(t, s, "database/creds/readonly")
	for _, sync := range []bool{true, false} {
		var users []string
		for range 3 {
			users = append(users, issue(t, s, "database/creds/app-readonly").user)
		}
		must(t, s.revokePrefix("database/creds/app-readonly", sync), "revoke the prefix")
		if sync && slices.ContainsFunc(users, func(u string) bool { return s.target.exists(t, u) }) {
			t.Error("a synchronous revocation answered before the accounts were gone")
		}
		s.target.gone(t, users...)
	}
	if !s.target.works(t, other) {
		t.Error("a lease beside the prefix was revoked")
	}
	want(t, "default privileges left", s.target.count(t, "SELECT count(*) FROM pg_default_acl"), 0)
	eventually(t, hang, func() error { // they end after their accounts; see ended
		keys, err := s.list("sys/leases/lookup/database/creds/app-readonly")
		must(t, err, "list the leases")
		if left := keys.keys(); len(left) > 0 {
			return fmt.Errorf("leases are left: %v", left)
		}
		return nil
	})
	must(t, s.revoke(other.lease, true), "revoke")
}

// owned: what a leased user made stays, with its rows (C5).
func (s *story) owned() {
	t := s.t
	_, err := s.write("database/roles/writer", map[string]any{
		"db_name":             "my-postgres",
		"creation_statements": s1Creation + ` GRANT USAGE, CREATE ON SCHEMA public TO "{{name}}";`,
	})
	must(t, err, "write role writer")
	_, err = s.write("database/config/my-postgres", map[string]any{"allowed_roles": "readonly,writer"})
	must(t, err, "allow the role")
	cred := issue(t, s, "database/creds/writer")
	conn := s.target.login(t, cred)
	_, err = conn.Exec(t.Context(), "CREATE TABLE notes (text text); INSERT INTO notes VALUES ('kept')")
	must(t, err, "make a table")
	must(t, s.revoke(cred.lease, true), "revoke")
	want(t, "tables kept", s.target.count(t,
		"SELECT count(*) FROM pg_class c JOIN pg_roles r ON r.oid = c.relowner WHERE c.relname = 'notes' AND r.rolname = 'vault_admin'"), 1)
	want(t, "rows kept", s.target.count(t, "SELECT count(*) FROM notes"), 1)
	s.target.Exec(t, "postgres", "DROP TABLE notes")
}

func (s *story) tuning() {
	t := s.t
	must(t, s.tune("database", "5m", "10m"), "tune")
	all, err := s.mounts()
	must(t, err, "read the mounts")
	if m := all["database/"]; m.Default != 300 || m.Max != 600 {
		t.Errorf("after tuning, the mount has %d and %d seconds", m.Default, m.Max)
	}
	got, err := s.read("database/creds/readonly")
	must(t, err, "read a credential")
	term(t, time.Duration(got.Duration)*time.Second, 10*time.Minute)
	if !strings.Contains(plain(got.Warnings), "exceeded the effective max_ttl of \\\"10m\\\"") {
		t.Errorf("warnings: %v", got.Warnings)
	}
	must(t, s.revoke(got.LeaseID, true), "revoke")
	must(t, s.tune("database", "768h", "768h"), "tune back")
}

// tokens: the leases of a token end with it.
func (s *story) tokens() {
	t := s.t
	made, err := s.createToken("app-A", "1h")
	must(t, err, "make a token")
	want(t, "time to live of the token", made.TokenDuration, 3600)
	app := s.as(t, made.Token)
	self, err := app.lookupSelf()
	must(t, err, "look the token up")
	want(t, "accessor", self.text("accessor"), made.Accessor)
	want(t, "display_name", self.text("display_name"), "token-app-A")

	own, roots := issue(t, app, "database/creds/readonly"), issue(t, s, "database/creds/readonly")
	if !strings.HasPrefix(own.user, "v-token-ap-readonly-") {
		t.Errorf("the user of a token is called %q", own.user)
	}
	child, err := app.createToken("child", "30m")
	must(t, err, "make a child")
	childs := issue(t, s.as(t, child.Token), "database/creds/readonly")
	must(t, s.revokeToken(made.Token), "revoke the token")
	_, err = app.read("database/creds/readonly")
	want(t, "status for a revoked token", statusOf(err), http.StatusForbidden)
	s.target.gone(t, own.user, childs.user)
	eventually(t, hang, func() error { // its children follow
		if _, err := s.as(t, child.Token).lookupSelf(); statusOf(err) != http.StatusForbidden {
			return fmt.Errorf("the child of a revoked token is answered with %d", statusOf(err))
		}
		return nil
	})
	s.ended(own)
	s.ended(childs)
	if !s.target.works(t, roots) {
		t.Error("another token's lease was revoked")
	}
	must(t, s.revoke(roots.lease, true), "revoke")
}

// policies is the policy of S1.5, and S2.2 up to the rotation: a token of a
// policy reads its credentials, and nothing else.
func (s *story) policies() {
	t := s.t
	for _, role := range []string{"readonly", "app-readonly"} {
		must(t, s.putPolicy(role, strings.ReplaceAll(articles(t)["S1.5/policy.hcl"], "readonly", role)), "write the policy")
		made, err := s.createToken("app-A", "1h", role)
		must(t, err, "make a token")
		app := s.as(t, made.Token)
		cred := issue(t, app, "database/creds/"+role)
		want(t, "the credential works", s.target.works(t, cred), true)
		_, err = app.read("database/roles/" + role)
		if statusOf(err) != http.StatusForbidden || !strings.Contains(err.Error(), "permission denied") {
			t.Errorf("the role is read with a policy for its credentials: %v", err)
		}
		must(t, s.revoke(cred.lease, false), "revoke")
		s.target.gone(t, cred.user)
		must(t, s.revokeToken(made.Token), "revoke the token")
	}
}

// rotation: users that are issued do not notice (S2.2).
func (s *story) rotation() {
	t := s.t
	_, err := s.write("database/rotate-root/my-postgresql", nil)
	if statusOf(err) != http.StatusBadRequest || !strings.Contains(err.Error(), "database/config/my-postgres") {
		t.Errorf("a password that another connection uses was rotated, or it was not named: %v (B11)", err)
	}
	must(t, s.remove("database/config/my-postgres"), "delete the other connection")
	cred := issue(t, s, "database/creds/app-readonly")
	conn := s.target.login(t, cred)
	_, err = s.write("database/rotate-root/my-postgresql", nil)
	must(t, err, "rotate the password")
	_, err = s.target.tryLogin(t.Context(), credential{user: "vault_admin", password: "s3cr3t"})
	want(t, "SQLSTATE for the old password", sqlState(err), "28P01")
	must(t, conn.Ping(t.Context()), "use a session that was open")
	if !s.target.works(t, cred) {
		t.Error("an issued credential ended with the rotation")
	}
	must(t, s.revoke(cred.lease, true), "revoke after the rotation")
	if s.target.exists(t, cred.user) {
		t.Error("the account outlived its revocation after the rotation")
	}
	after := issue(t, s, "database/creds/app-readonly")
	if !s.target.works(t, after) {
		t.Error("a credential that was issued after the rotation does not work")
	}
	must(t, s.revoke(after.lease, true), "revoke")
}

// frozen: what happens to a role changes no live lease (A2).
func (s *story) frozen() {
	t := s.t
	cred := issue(t, s, "database/creds/app-readonly")
	must(t, s.remove("database/roles/app-readonly"), "delete the role")
	_, err := s.read("database/creds/app-readonly")
	if statusOf(err) != http.StatusBadRequest || !strings.Contains(err.Error(), "unknown role: app-readonly") {
		t.Errorf("read creds of a deleted role: %v", err)
	}
	got, err := s.renew(cred.lease, 0)
	must(t, err, "renew a lease of a deleted role")
	term(t, time.Duration(got.Duration)*time.Second, time.Hour)
	must(t, s.revoke(cred.lease, true), "revoke a lease of a deleted role")
	if s.target.exists(t, cred.user) {
		t.Error("the account of a deleted role stays")
	}
}

func (s *story) disabling() {
	t := s.t
	must(t, s.mount("team-b", "database"), "enable a second engine")
	s.target.Exec(t, "postgres", "ALTER ROLE vault_admin PASSWORD 's3cr3t'")
	var users []string
	_, err := s.write("team-b/config/db", map[string]any{
		"plugin_name": "postgresql-database-plugin", "allowed_roles": "*",
		"connection_url": s.target.template(), "username": "vault_admin", "password": "s3cr3t",
	})
	must(t, err, "configure the second engine")
	s.target.role(t, s, "team-b", "app", s1Creation, "1h", "24h")
	for range 3 {
		users = append(users, issue(t, s, "team-b/creds/app").user)
	}
	must(t, s.unmount("team-b"), "disable the engine")
	_, err = s.read("team-b/creds/app")
	want(t, "status below a disabled engine", statusOf(err), 0) // a 404 on a read is "no value" to clients
	if r := s.server.mustSend(t, http.MethodGet, "/v1/team-b/creds/app", ""); r.status != http.StatusNotFound {
		t.Errorf("read below a disabled engine: %d %s", r.status, r.body)
	}
	s.target.gone(t, users...)
	all, err := s.mounts()
	must(t, err, "read the mounts")
	if _, ok := all["team-b/"]; ok {
		t.Error("a disabled engine is among the mounts")
	}
	// The path can be used again at once (A2).
	must(t, s.mount("team-b", "database"), "enable an engine at the same path")
	r := s.server.mustSend(t, http.MethodGet, "/v1/team-b/roles?list=true", "")
	want(t, "roles of the new engine", fmt.Sprint(r.status, r.errors()), fmt.Sprint(http.StatusNotFound, []string{}))
}
