package story

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/curfew-project/curfew/services/demo/internal/stage"
	"github.com/curfew-project/curfew/shared/secret"
)

const (
	role  = "readonly"
	creds = "database/creds/" + role
)

// run shows a command, runs it, and shows what it answered, warnings first.
func (s *story) run(ctx context.Context, args ...string) error {
	s.quote(commandLine(args))
	answer, err := s.stage.Client(ctx, args...)
	if err != nil {
		return err
	}
	s.quote(answer.Stderr)
	s.quote(answer.Stdout)
	return nil
}

func (s *story) enable(ctx context.Context) error {
	return s.run(ctx, "secrets", "enable", "database")
}

func (s *story) configure(ctx context.Context) error {
	s.say("The admin's password comes from a file. Curfew seals it, and no request gives",
		"it back. The connection is tried before it is stored; warnings name what would be",
		"worth changing in the target, and refuse nothing.", "")
	return s.run(ctx, "write", "database/config/shop",
		"plugin_name=postgresql-database-plugin",
		"connection_url="+s.stage.Target.Template(),
		"username="+stage.Admin, "password=@"+stage.AdminPasswordFile,
		"allowed_roles="+role)
}

func (s *story) role(ctx context.Context) error {
	s.say("Curfew fills in name, password and expiration for each account. The times are",
		"short so that you need not wait.", "")
	return s.run(ctx, "write", "database/roles/"+role,
		"db_name=shop",
		`creation_statements=CREATE ROLE "{{name}}" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'; GRANT `+stage.Readers+` TO "{{name}}";`,
		"default_ttl="+defaultTTL.String(), "max_ttl="+maxTTL.String())
}

// credential is an answer of creds.
type credential struct {
	lease    string
	user     string
	password secret.Value
}

func (s *story) issue(ctx context.Context) error {
	s.say("Each request makes an account of its own. Before Postgres is touched, the",
		"intent is on disk; after it, the lease. Only then is the answer given.", "")
	var err error
	if s.first, err = s.credential(ctx); err != nil {
		return err
	}
	s.line("")
	if s.second, err = s.credential(ctx); err != nil {
		return err
	}
	if s.first.user == s.second.user {
		return fmt.Errorf("both requests got the account %s", s.first.user)
	}
	n, err := s.accounts(ctx, s.first.user, s.second.user)
	if err != nil {
		return err
	}
	if n != 2 {
		return fmt.Errorf("postgres has %d of the two accounts", n)
	}
	s.say("", "Postgres has both accounts. (Passwords are left out of this transcript.)")
	return nil
}

func (s *story) credential(ctx context.Context) (credential, error) {
	args := []string{"read", "-format=json", creds}
	s.quote(commandLine(args))
	out, err := s.stage.Client(ctx, args...)
	if err != nil {
		return credential{}, err
	}
	var answer struct {
		LeaseID       string `json:"lease_id"`
		LeaseDuration int    `json:"lease_duration"`
		Renewable     bool   `json:"renewable"`
		Data          struct{ Username, Password string }
	}
	if err := json.Unmarshal([]byte(out.Stdout), &answer); err != nil {
		return credential{}, fmt.Errorf("read the credential: %w", err)
	}
	c := credential{answer.LeaseID, answer.Data.Username, secret.New(answer.Data.Password)}
	s.hide(c.password)
	s.quote(out.Stdout)
	switch {
	case c.lease == "" || c.user == "" || c.password.Empty():
		return c, errors.New("read the credential: the answer lacks lease, user name or password")
	case !answer.Renewable:
		return c, errors.New("read the credential: it is not renewable")
	case answer.LeaseDuration > int(defaultTTL/time.Second) || answer.LeaseDuration <= 0: // less, where creating took long
		return c, fmt.Errorf("read the credential: its lease is for %d s, not %s", answer.LeaseDuration, defaultTTL)
	}
	return c, nil
}

func (s *story) login(ctx context.Context) error {
	conn, err := s.stage.Target.Login(ctx, s.second.user, s.second.password)
	if err != nil {
		return err
	}
	var items string
	err = conn.QueryRow(ctx, "SELECT string_agg(item, ', ' ORDER BY id) FROM "+stage.Table).Scan(&items)
	if err != nil {
		return errors.Join(fmt.Errorf("read the table: %w", err), conn.Close(ctx))
	}
	s.session = hold(conn, s.clock) //nolint:contextcheck // it ends with the session, or by close
	n, err := s.sessions(ctx, s.second.user)
	if err != nil {
		return err
	}
	if n != 1 {
		return fmt.Errorf("postgres shows %d sessions of %s, not 1", n, s.second.user)
	}
	s.say(s.second.user,
		"logs in, reads the table "+stage.Table+" ("+items+"), and stays: its session is",
		"now in a query that would take an hour.")
	return nil
}
