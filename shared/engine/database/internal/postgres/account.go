package postgres

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/engine/database/internal/scram"
	"github.com/curfew-project/curfew/shared/engine/database/internal/sqltext"
	"github.com/curfew-project/curfew/shared/secret"
)

// Standing is what the catalogue says of an account that people made.
type Standing struct {
	Exists  bool
	Login   bool
	Expired bool // VALID UNTIL has passed: no password works
}

// Standing looks at an account, on the connection that changes it.
func (t *Target) Standing(ctx context.Context, account string) (Standing, error) {
	var s Standing
	err := t.static.again(ctx, t.settings.Limits.Turn, func(ctx context.Context, l *link) error {
		got, err := l.query(ctx, `SELECT rolcanlogin::pg_catalog.text,
 COALESCE(rolvaliduntil <= pg_catalog.clock_timestamp(), false)::pg_catalog.text
 FROM pg_catalog.pg_roles WHERE rolname = `+literal(account))
		if err == nil && len(got) == 1 {
			s = Standing{Exists: true, Login: got[0][0] == "true", Expired: got[0][1] == "true"}
		}
		return err
	})
	return s, t.person(err)
}

// NewPassword is a change of the password of an account that people made.
type NewPassword struct {
	Account  string
	Password secret.Value
	// Statements are those of the role; none: ALTER ROLE.
	Statements     []string
	Authentication PasswordAuthentication
	Iterations     int // 0: 4,096
	// Until is when the attempt ends, by the local clock; after that the target
	// refuses it.
	Until time.Time
}

// Check reports what is wrong with it, before anything is stored.
func (n NewPassword) Check() error {
	_, err := n.compile()
	return err
}

func (n NewPassword) compile() (sqltext.Script, error) {
	if len(n.Statements) == 0 {
		return sqltext.Script{}, nil
	}
	s, err := sqltext.Parse(sqltext.Rotation, n.Statements...)
	if err == nil && n.hashed() {
		err = s.PasswordOnlyAsPassword()
	}
	return s, err
}

func (n NewPassword) hashed() bool { return cmp.Or(n.Authentication, SCRAM) == SCRAM }

// text is what the server is given: the verifier, or the password itself (B10).
func (n NewPassword) text() (secret.Value, error) {
	if !n.hashed() {
		return n.Password, nil
	}
	salt := make([]byte, scram.SaltLen)
	rand.Read(salt) // never fails, it ends the process
	verifier, err := scram.Verifier(n.Password.Reveal(), salt, cmp.Or(n.Iterations, scram.DefaultIterations))
	if err != nil {
		return secret.Value{}, &engine.Error{Kind: engine.Internal, Message: "the new password cannot be hashed", Err: err}
	}
	return secret.New(verifier), nil
}

// unit is the change as statements.
func (n NewPassword) unit(script sqltext.Script) (unit, error) {
	given, err := n.text()
	if err != nil {
		return unit{}, err
	}
	u := unit{
		doing: "change the password of the account", what: script.Kind().String(), account: n.Account,
		secrets: []secret.Value{given, n.Password},
	}
	if script.Len() == 0 {
		u.after = []string{"ALTER ROLE " + ident(n.Account) + " PASSWORD " + literal(given.Reveal())}
		return u, nil
	}
	for _, s := range script.Statements() {
		text, err := s.Render(sqltext.Vars{Name: n.Account, Password: given.Reveal()})
		if err != nil {
			return unit{}, invalid("%w", err)
		}
		u.script = append(u.script, statement{text: text, source: s.Source()})
	}
	return u, nil
}

// ChangePassword gives an account a new password (B11, step 2). After an error of
// kind Refused it did not happen; after any other it may have. It does not happen
// after Until: the target's own clock decides (B1).
func (t *Target) ChangePassword(ctx context.Context, n NewPassword) error {
	script, err := n.compile()
	if err != nil {
		return invalid("%w", err)
	}
	u, err := n.unit(script)
	if err != nil {
		return err
	}
	// B4: a role's own statements leave nothing behind in the session.
	alone := script.Len() > 0
	err = t.static.use(ctx, n.Until.Sub(t.clk.Now()), func(ctx context.Context, l *link) error {
		last, left, err := t.fence(ctx, l, "the end of the rotation", n.Until)
		if err != nil {
			return err
		}
		tx := transaction{advisory: script.Conflicting(), alone: alone, last: last}
		err = t.step(ctx, l, tx, left, u)
		if alone && !lost(err) {
			if _, resetting := l.run(ctx, "DISCARD ALL"); resetting != nil {
				l.close(ctx) // whether the password was changed is decided already
			}
		}
		return err
	})
	if errors.Is(err, errFence) {
		return &engine.Error{Kind: engine.Conflict, Message: "the target took longer than the rotation may take; the password was not changed", Err: err}
	}
	return t.person(err)
}

// Verdict is what a server says of an account's password.
type Verdict int

// The verdicts.
const (
	Unproved Verdict = iota // logins from here are not decided by the password
	Accepted
	WrongPassword
)

// TryAccount asks the target whether a password is the one of an account, by
// logging in with it (B11, step 3). An error means that no server which could say
// so answered. That a login fails for another reason, after the password was
// taken, counts as accepted.
func (t *Target) TryAccount(ctx context.Context, account string, password secret.Value) (Verdict, error) {
	refused, unproved := false, false
	var away error
	for _, server := range t.main.servers() {
		v, standby, err := t.main.trial(ctx, server, account, password)
		switch {
		case err != nil:
			away = err
		case v == Accepted && !standby:
			return Accepted, nil
		case v == Accepted: // it may lag behind, and the primary is another
		case v == WrongPassword:
			refused = true
		default:
			unproved = true
		}
	}
	switch {
	case away != nil:
		return Unproved, away
	case unproved:
		return Unproved, nil
	case refused:
		return WrongPassword, nil
	}
	return Unproved, &engine.Error{Kind: engine.Unreachable, Message: "only standbys of the target answer"}
}

// servers are the configurations of each server that the URL names.
func (d *dialer) servers() []*pgconn.Config {
	type address struct {
		host string
		port uint16
	}
	first := d.config.Copy()
	all := append([]*pgconn.FallbackConfig{{Host: first.Host, Port: first.Port, TLSConfig: first.TLSConfig}}, first.Fallbacks...)
	var out []*pgconn.Config
	at := map[address]*pgconn.Config{}
	for _, f := range all {
		where := address{f.Host, f.Port}
		if c := at[where]; c != nil {
			c.Fallbacks = append(c.Fallbacks, f) // the same server, with or without TLS
			continue
		}
		c := d.config.Copy()
		c.Host, c.Port, c.TLSConfig, c.Fallbacks, c.ValidateConnect = f.Host, f.Port, f.TLSConfig, nil, nil
		at[where] = c
		out = append(out, c)
	}
	return out
}

// byPassword are the ways of authentication in which the server looks at the
// password. A server that lets everybody in proves nothing.
const byPassword = "scram-sha-256,md5,password" //nolint:gosec // names of methods, no credential

// trial logs in to one server.
func (d *dialer) trial(ctx context.Context, config *pgconn.Config, account string, password secret.Value) (v Verdict, standby bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, d.limits.Connect)
	defer cancel()
	config.User, config.Password = account, password.Reveal()
	config.RequireAuth = cmp.Or(config.RequireAuth, byPassword)
	// Settings of the admin's sessions may be refused to others.
	config.RuntimeParams = map[string]string{"application_name": config.RuntimeParams["application_name"]}
	conn, err := pgconn.ConnectConfig(ctx, config)
	if err != nil {
		v, err = d.judge(err, password)
		return v, false, err
	}
	l := &link{dialer: d, conn: conn, used: d.clk.Now()}
	defer l.close(ctx)
	results, err := l.run(ctx, "SELECT pg_catalog.pg_is_in_recovery()::pg_catalog.text")
	if err != nil {
		return Unproved, false, d.explain(config.Database, err, password)
	}
	return Accepted, rows(results[0])[0][0] == "true", nil
}

// judge tells a refused password from what else may end a login.
func (d *dialer) judge(err error, password secret.Value) (Verdict, error) {
	pg := pgError(err)
	switch {
	case pg == nil && strings.Contains(err.Error(), "require_auth check failed"):
		return Unproved, nil
	case pg == nil:
		return Unproved, d.explain(d.config.Database, err, password)
	case pg.Code == codeWrongPassword:
		return WrongPassword, nil
	// What the server looks at once the password was right: LOGIN, limits of
	// the account, CONNECT.
	case pg.Routine == "InitializeSessionUserId", pg.Routine == "CheckMyDatabase":
		return Accepted, nil
	case outage(pg.Code):
		return Unproved, d.explain(d.config.Database, err, password)
	}
	return Unproved, nil
}
