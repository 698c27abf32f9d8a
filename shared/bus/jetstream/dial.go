package jetstream

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/curfew-project/curfew/shared/secret"
)

const (
	connectTimeout = 3 * time.Second // of one server
	// A connection whose other end is silent ends after two pings.
	pingEvery = 2 * time.Second
	pingsOut  = 2
	// writeTimeout bounds a write to a server that takes nothing: nats.go holds
	// its lock meanwhile, whatever the context of the call.
	writeTimeout = 2 * time.Second
	apiTimeout   = 3 * time.Second
)

// Client is how a program reaches external servers and who it is there. The
// zero value is a server on a private network that asks for nothing.
type Client struct {
	// Program names the connection "curfew/<program>", for the server's
	// monitoring.
	Program string

	// CAFile, in PEM, verifies the servers instead of the system's roots;
	// CertFile and KeyFile are the client's own certificate, read anew at each
	// reconnect. Any of them, or a tls:// URL, demands TLS.
	CAFile, CertFile, KeyFile string
	// TLSFirst begins with the handshake, as the server option
	// tls.handshake_first asks.
	TLSFirst bool

	// One way to log in, or none: User and Password; Token; CredentialsFile, of
	// a JWT and its key; NKeyFile, of a seed.
	User            string
	Password, Token secret.Value
	CredentialsFile string
	NKeyFile        string

	// InboxPrefix replaces _INBOX in the subjects of answers, so that users of
	// one account can be kept from reading each other's.
	InboxPrefix string
}

// Dial connects to servers, a comma-separated list of URLs. It does not need
// one of them to answer (promise 6): the connection is then made as soon as one
// does, and until then the calls say [ErrDisconnected]. It fails for what
// waiting does not cure: a configuration that cannot work, and a server that
// refuses the login or whose TLS does not fit. (In TLS 1.3 a server may refuse
// the client's certificate after the handshake; if its words are lost with the
// connection, it looks like a server that is away.)
//
// A stream that is missing is made now if possible, else by the first call that
// needs it.
func Dial(ctx context.Context, urls string, cfg Config) (*Bus, error) {
	cfg.defaults()
	if err := errors.Join(cfg.validate(), cfg.Client.validate(urls)); err != nil {
		return nil, fmt.Errorf("connect to nats: %w", err)
	}
	w := &wiring{}
	nc, err := cfg.Client.connect(ctx, urls, w)
	if err != nil {
		return nil, fmt.Errorf("connect to nats: %w", err)
	}
	b, err := open(nc, w, cfg, func() {})
	if err != nil {
		nc.Close()
		return nil, err
	}
	if b.Disconnected() == nil && !cfg.Inspect {
		_ = b.ensureStream(ctx, false) // kept for Check; whoever needs the stream tries again
	}
	return b, nil
}

func (c *Client) connect(ctx context.Context, urls string, w *wiring) (*nats.Conn, error) {
	opts, err := c.options(w)
	if err != nil {
		return nil, err
	}
	nc, err := nats.Connect(urls, opts...)
	if err == nil {
		return nc, nil
	}
	if refused := c.probe(ctx, urls); refused != nil {
		return nil, refused
	}
	w.down(err) // until a callback says otherwise
	return nats.Connect(urls, append(opts, nats.RetryOnFailedConnect(true))...)
}

// probe asks each server whether it refuses us: a connection to several tells
// only of one.
func (c *Client) probe(ctx context.Context, urls string) error {
	opts, err := c.options(&wiring{})
	if err != nil {
		return err
	}
	for each := range strings.SplitSeq(urls, ",") {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		nc, err := nats.Connect(strings.TrimSpace(each), opts...)
		if err == nil {
			nc.Close()
			return nil // it has come up meanwhile
		}
		if lasting(err) {
			return err
		}
	}
	return nil
}

// lasting reports whether a server answered and will not take us.
func lasting(err error) bool {
	for _, e := range []error{
		nats.ErrAuthorization, nats.ErrAuthExpired, nats.ErrAuthRevoked, nats.ErrAccountAuthExpired,
		nats.ErrSecureConnWanted, nats.ErrSecureConnRequired, nats.ErrNkeysNotSupported, nats.ErrTLS,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	var (
		unverified *tls.CertificateVerificationError
		network    *net.OpError
		noTLS      tls.RecordHeaderError
		authority  x509.UnknownAuthorityError
		hostname   x509.HostnameError
		invalid    x509.CertificateInvalidError
	)
	// crypto/tls has no type for the other end's alert.
	alert := errors.As(err, &network) && network.Op == "remote error"
	return errors.As(err, &unverified) || alert || errors.As(err, &noTLS) ||
		errors.As(err, &authority) || errors.As(err, &hostname) || errors.As(err, &invalid)
}

func (c *Client) validate(urls string) error {
	for each := range strings.SplitSeq(urls, ",") {
		u, err := url.Parse(strings.TrimSpace(each))
		if err != nil || u.Host == "" {
			return errors.New("a URL of a server is not of the form nats://host:port") // not shown: it may hold a password
		}
		if u.User != nil {
			return errors.New("a URL of a server holds a login, which logs would show: set user and password")
		}
	}
	ways := 0
	for _, given := range []bool{c.User != "" || !c.Password.Empty(), !c.Token.Empty(), c.CredentialsFile != "", c.NKeyFile != ""} {
		if given {
			ways++
		}
	}
	if ways > 1 {
		return errors.New("more than one way to log in: give user and password, a token, a credentials file or an nkey file")
	}
	if (c.User == "") != c.Password.Empty() {
		return errors.New("user and password go together")
	}
	if (c.CertFile == "") != (c.KeyFile == "") {
		return errors.New("the client's certificate and its key go together")
	}
	return nil
}

func (c *Client) options(w *wiring) ([]nats.Option, error) {
	opts := options(w, c.Program)
	if c.CAFile != "" || c.CertFile != "" {
		opts = append(opts, nats.Secure(&tls.Config{MinVersion: tls.VersionTLS12}))
	}
	if c.CAFile != "" {
		opts = append(opts, nats.RootCAs(c.CAFile))
	}
	if c.CertFile != "" {
		opts = append(opts, nats.ClientCert(c.CertFile, c.KeyFile))
	}
	if c.TLSFirst {
		opts = append(opts, nats.TLSHandshakeFirst())
	}
	if c.InboxPrefix != "" {
		opts = append(opts, nats.CustomInboxPrefix(c.InboxPrefix))
	}
	switch {
	case c.User != "":
		opts = append(opts, nats.UserInfo(c.User, c.Password.Reveal()))
	case !c.Token.Empty():
		opts = append(opts, nats.Token(c.Token.Reveal()))
	case c.CredentialsFile != "":
		opts = append(opts, nats.UserCredentials(c.CredentialsFile))
	case c.NKeyFile != "":
		seed, err := nats.NkeyOptionFromSeed(c.NKeyFile)
		if err != nil {
			return nil, fmt.Errorf("read the nkey file: %w", err)
		}
		opts = append(opts, seed)
	}
	return opts, nil
}

func options(w *wiring, program string) []nats.Option {
	return []nats.Option{
		nats.Name("curfew/" + program), nats.Timeout(connectTimeout),
		nats.MaxReconnects(-1), nats.ReconnectWait(250 * time.Millisecond),
		// A login that is refused later is being changed: giving up would need
		// a person to restart the program.
		nats.IgnoreAuthErrorAbort(),
		nats.PingInterval(pingEvery), nats.MaxPingsOutstanding(pingsOut),
		nats.FlusherTimeout(writeTimeout), nats.ReconnectOnFlusherError(),
		// No buffering while disconnected: an event must fail fast so that the
		// publisher knows it was not sent.
		nats.ReconnectBufSize(-1),
		nats.ConnectHandler(func(*nats.Conn) { w.up() }),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) { w.down(err) }),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) { w.down(err) }),
		nats.ReconnectHandler(func(*nats.Conn) {
			w.sessions.Add(1)
			w.up()
		}),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { w.denials.hear(err) }),
	}
}
