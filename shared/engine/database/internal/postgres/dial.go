package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"regexp"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"

	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/secret"
)

// Placeholders stand for the variables while the URL is parsed, so that a name
// or a password cannot change what the rest of it means.
const (
	userPlaceholder     = "curfew-user-placeholder"
	passwordPlaceholder = "curfew-password-placeholder"
)

// dialer opens connections to one server.
type dialer struct {
	config      *pgconn.Config
	creds       Credentials
	clk         clock.Clock
	identity    Identity // recorded; zero: any
	ownUser     bool     // the URL leaves the user to Settings
	ownPassword bool     // and the password to Credentials
	mode        string   // sslmode, for messages
	limits      Limits
	standby     bool // a replica: a primary is the wrong server
}

// newDialer reads a URL template. Errors are for the person who wrote it.
func newDialer(s Settings, template string, creds Credentials, clk clock.Clock) (*dialer, error) {
	d := &dialer{creds: creds, clk: clk, limits: s.Limits, identity: s.Identity}
	url := variables("username").ReplaceAllString(template, userPlaceholder)
	d.ownUser = url != template
	text := variables("password").ReplaceAllString(url, passwordPlaceholder)
	d.ownPassword = text != url
	text, mode, err := sslMode(text, s.TLS)
	if err != nil {
		return nil, invalid("connection_url: %w", err)
	}
	d.mode = mode
	d.config, err = pgconn.ParseConfigWithOptions(text, pgconn.ParseConfigOptions{ConnStringAllowedKeys: allowedKeys()})
	if err != nil {
		// The library's text can repeat parts of the URL, which may spell a
		// password out.
		return nil, invalid("connection_url cannot be read as a PostgreSQL URL or keyword string: %w", withoutURL(err))
	}
	if err := d.place(s); err != nil {
		return nil, err
	}
	if err := s.TLS.apply(d.config, mode); err != nil {
		return nil, invalid("%w", err)
	}
	d.tune(s)
	return d, nil
}

func variables(name string) *regexp.Regexp { return regexp.MustCompile(`\{\{\s*` + name + `\s*\}\}`) }

// allowedKeys leaves out what would read other connections' secrets from files
// of this machine, or replace the whole URL by one.
func allowedKeys() []string {
	return []string{
		"host", "hostaddr", "port", "dbname", "user", "password", "connect_timeout", "application_name", "options",
		"client_encoding", "target_session_attrs", "sslmode", "sslrootcert", "sslcert", "sslkey", "sslcertmode", "sslsni",
		"sslnegotiation", "channel_binding", "require_auth", "krbspn", "krbsrvname", "min_protocol_version",
		"max_protocol_version",
	}
}

// withoutURL keeps what went wrong and drops the text in which it did.
func withoutURL(err error) error {
	var parse *pgconn.ParseConfigError
	if errors.As(err, &parse) && parse.Unwrap() == nil {
		return errors.New(strings.TrimPrefix(err.Error(), "cannot parse `"+parse.ConnString+"`: "))
	}
	return errors.New("it is malformed, or names a parameter that is not allowed here (service, passfile)")
}

// place puts the user in and refuses variables elsewhere.
func (d *dialer) place(s Settings) error {
	if d.ownUser && d.config.User == userPlaceholder {
		if s.Username == "" {
			return invalid("connection_url has {{username}}, but username is missing")
		}
		d.config.User = s.Username
	}
	if d.ownPassword && d.config.Password == passwordPlaceholder {
		d.config.Password = ""
	}
	places := []string{d.config.User, d.config.Password, d.config.Host, d.config.Database}
	for _, f := range d.config.Fallbacks {
		places = append(places, f.Host)
	}
	for _, v := range d.config.RuntimeParams {
		places = append(places, v)
	}
	for _, p := range places {
		if strings.Contains(p, userPlaceholder) || strings.Contains(p, passwordPlaceholder) {
			return invalid("connection_url: {{username}} and {{password}} can stand for the whole user and the whole password only")
		}
	}
	return nil
}

// tune sets what holds for all connections of Curfew.
func (d *dialer) tune(s Settings) {
	d.config.ConnectTimeout = cmp.Or(d.config.ConnectTimeout, s.Limits.Connect)
	net := &net.Dialer{
		Timeout: d.config.ConnectTimeout,
		// A server that vanished is noticed within half a minute (B6).
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 10 * time.Second, Interval: 5 * time.Second, Count: 4},
	}
	d.config.DialFunc = net.DialContext
	d.config.RuntimeParams["application_name"] = "curfew/" + s.Program
	d.config.RuntimeParams["standard_conforming_strings"] = "on"
	if len(hosts(d.config)) > 1 && d.config.ValidateConnect == nil && !d.standby {
		d.config.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	}
	d.config.BuildContextWatcherHandler = func(c *pgconn.PgConn) ctxwatch.Handler {
		// At the end of a budget the server is told from a second connection;
		// what does not answer then is cut off.
		return &pgconn.CancelRequestContextWatcherHandler{Conn: c, DeadlineDelay: 2 * time.Second}
	}
}

func hosts(c *pgconn.Config) map[string]bool {
	all := map[string]bool{fmt.Sprint(c.Host, ":", c.Port): true}
	for _, f := range c.Fallbacks {
		all[fmt.Sprint(f.Host, ":", f.Port)] = true
	}
	return all
}

// dial logs in to a database ("": the URL's) and looks who answers. Errors are
// of type *engine.Error.
func (d *dialer) dial(ctx context.Context, database string) (*link, error) {
	ctx, cancel := context.WithTimeout(ctx, d.limits.Connect)
	defer cancel()
	l, err := d.login(ctx, database)
	if err != nil {
		return nil, err
	}
	if err := l.greet(ctx); err != nil {
		l.close(ctx)
		return nil, err
	}
	return l, nil
}

// login tries the passwords that the store has (B11).
func (d *dialer) login(ctx context.Context, database string) (*link, error) {
	database = cmp.Or(database, d.config.Database)
	current, _, err := d.passwords(ctx)
	if err != nil {
		return nil, err
	}
	l, err := d.try(ctx, database, current)
	if !hasCode(err, codeWrongPassword) {
		return l, d.explain(database, err, current)
	}
	refused := err
	again, pending, err := d.passwords(ctx)
	if err != nil {
		return nil, err
	}
	if !again.Equal(current) {
		if l, err = d.try(ctx, database, again); !hasCode(err, codeWrongPassword) {
			return l, d.explain(database, err, again)
		}
	}
	if pending.Empty() {
		return nil, d.explain(database, refused, current, again)
	}
	l, err = d.try(ctx, database, pending)
	if err != nil {
		return nil, d.explain(database, err, current, again, pending)
	}
	if err := d.creds.Promote(ctx, pending); err != nil {
		l.close(ctx)
		return nil, &engine.Error{Kind: engine.Internal, Message: "the rotated password of the connection could not be stored", Err: err}
	}
	return l, nil
}

func (d *dialer) passwords(ctx context.Context) (current, pending secret.Value, err error) {
	if current, pending, err = d.creds.Passwords(ctx); err != nil {
		err = &engine.Error{Kind: engine.Internal, Message: "the credential of the connection could not be read", Err: err}
	}
	return current, pending, err
}

// try opens one connection with one password. The error is the library's.
func (d *dialer) try(ctx context.Context, database string, password secret.Value) (*link, error) {
	config := d.config.Copy()
	config.Database = cmp.Or(database, config.Database)
	if d.ownPassword || config.Password == "" {
		config.Password = password.Reveal()
	}
	now := d.clk.Now()
	l := &link{dialer: d, born: now, used: now}
	config.OnNotice = l.notice
	conn, err := pgconn.ConnectConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	l.conn = conn
	return l, nil
}

func invalid(format string, args ...any) *engine.Error {
	err := fmt.Errorf(format, args...)
	return &engine.Error{Kind: engine.Invalid, Message: err.Error(), Err: err}
}

// name says which server this is, for messages.
func (d *dialer) name() string { return fmt.Sprintf("%s:%d", d.config.Host, d.config.Port) }
