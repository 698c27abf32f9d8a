// Package config is the configuration of every program: one HCL file in the form
// that Vault's users know, environment over it, flags over both.
//
// The same file may be given to all programs of an installation: each takes what
// it needs and checks it; the rest is checked for form only.
//
// What holds: unknown and repeated keys are errors that name the key and its
// line; every default is set in one place; nothing secret is in the file, only
// paths of files that hold secrets, so that it can be printed.
package config

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/curfew-project/curfew/shared/secret"
)

// Program is who reads the configuration.
type Program string

// The programs.
const (
	Server  Program = "curfew server" // all roles in one process
	Issuer  Program = "curfew-issuer"
	Revoker Program = "curfew-revoker"
	Auditor Program = "curfew-auditor"
)

// Config is the whole configuration.
type Config struct {
	// Name tells this process from others of its kind; host name and process
	// id where it is empty.
	Name     string
	DataDir  string // all state of the embedded form; what an auditor derives
	KeyFile  string // master key; <data_dir>/seal.key
	AutoInit bool   // the first start initialises itself
	// MasterKey is the text of the key file, from the environment in its place.
	MasterKey secret.Value
	// AutoUnseal: the key is in KeyFile or MasterKey; else people give it.
	AutoUnseal bool
	Listener   Listener // the API; of an auditor: the record, for issuers
	Monitor    Monitor  // health and metrics
	Store      Store    // of the distributed form
	NATS       NATS
	Redis      Redis
	Audit      Audit
	TTL        TTL // of the system
	Log        Log
	Limits     Limits
	Expiry     Expiry

	// Of dev mode, by flag only.
	Dev      bool         // keeps nothing
	DevToken secret.Value // the root token
}

// Listener is an address and its TLS.
type Listener struct {
	Address  string // host:port
	Plain    bool   // tls_disable
	CertFile string // PEM
	KeyFile  string // PEM
	// ClientCAFile: certificates of clients must be by one of it.
	ClientCAFile string
	// RequireClientCert: every client must have one.
	RequireClientCert bool
	MinVersion        string // "tls12", "tls13"

	MaxRequestSize     int64         // bytes of a body; 1 MiB
	MaxRequestDuration time.Duration // 90 s
}

// Monitor is the address of health and metrics, in plain HTTP and open to whoever
// reaches it; empty: none.
type Monitor struct {
	Address  string
	Profiles bool // serve /debug/pprof/ there, too
}

// Store is the Postgres store.
type Store struct {
	URL          string // of the database, without a password
	PasswordFile string
	// MigrateURL, if set, is the login that owns the schema; URL's may then be
	// one that can change no schema.
	MigrateURL          string
	MigratePasswordFile string
	// Pooled: URL leads to a pooler that gives a connection to each transaction;
	// ListenURL, past it, is where notifications arrive.
	Pooled    bool
	ListenURL string
	MaxConns  int64 // 16
}

// NATS is the event stream.
type NATS struct {
	// Listen is where the embedded server lets subscribers in; empty: nowhere.
	Listen string

	// Servers are the URLs of an external one.
	Servers      []string
	User         string
	PasswordFile string
	CredsFile    string
	CAFile       string
	CertFile     string
	KeyFile      string
	Replicas     int64 // of the stream; 1
}

// Redis is the expiry index.
type Redis struct {
	Addresses    []string // one; those of a cluster; those of sentinels
	Cluster      bool
	Master       string // name that the sentinels know
	User         string
	PasswordFile string
	TLS          bool
	CAFile       string
	// Window bounds the index to what falls due within it; 0: it knows every
	// live lease.
	Window time.Duration
}

// Audit says where the record is, and who serves it.
type Audit struct {
	// LedgerDir is the ledger; <data_dir>/audit/ledger where it is empty. Auditors that
	// stand by for each other share it.
	LedgerDir string
	// URLs are those of the auditors' listeners: issuers pass readers on to them.
	URLs   []string
	CAFile string
	// DeviceDirs are the directories of the auditor's machine below which files of
	// audit devices may be; the data directory and /var/log where there are none.
	DeviceDirs []string
}

// TTL are the system's times to live.
type TTL struct{ Default, Max time.Duration }

// Log is what the program logs, and how.
type Log struct {
	Level  string // trace, debug, info, warn, error
	Format string // json or text
}

// Limits bound what waits (section E).
type Limits struct {
	Backlog  int64 // unconfirmed events, above which issuing is refused
	InFlight int64 // requests at a time
	// Lag is how far revocation on a target may be behind before issuing there is
	// refused.
	Lag time.Duration
	// Tokens are kept by an issuer, so that not each request reads its own (D7);
	// 0: none.
	Tokens int64
}

// CachedTokens is Tokens as an issuer takes it: below 0 for none.
func (l *Limits) CachedTokens() int {
	if l.Tokens == 0 {
		return -1
	}
	return int(l.Tokens)
}

// Expiry tunes the revoker.
type Expiry struct {
	StraySweep time.Duration
	// Lanes bounds the batches of leases, of all targets, that a process takes away
	// at a time; 0: no bound.
	Lanes  int64
	Paused bool // nothing is revoked: for tests and emergencies
}

const (
	systemTTL      = 768 * time.Hour // Vault's default for both
	defaultBacklog = 1_000_000
	defaultFlight  = 1024
	defaultLag     = 2 * time.Minute
	defaultTokens  = 16_384
	defaultSize    = 1 << 20
	defaultWithin  = 90 * time.Second
)

// Default is the configuration before file, environment and flags.
func Default() Config {
	return Config{
		AutoInit: true, AutoUnseal: true,
		Listener: Listener{MinVersion: "tls12", MaxRequestSize: defaultSize, MaxRequestDuration: defaultWithin},
		TTL:      TTL{Default: systemTTL, Max: systemTTL},
		Log:      Log{Level: "info", Format: "json"},
		Limits:   Limits{Backlog: defaultBacklog, InFlight: defaultFlight, Lag: defaultLag, Tokens: defaultTokens},
		Expiry:   Expiry{StraySweep: time.Minute},
		Store:    Store{MaxConns: 16},
		NATS:     NATS{Replicas: 1},
	}
}

// Derive fills what depends on other fields.
func (c *Config) Derive() {
	if c.DataDir != "" {
		c.KeyFile = cmp.Or(c.KeyFile, filepath.Join(c.DataDir, "seal.key"))
		c.Audit.LedgerDir = cmp.Or(c.Audit.LedgerDir, filepath.Join(c.DataDir, "audit", "ledger"))
	}
}

// Finish fills what depends on other fields, and validates what the program
// needs.
func (c *Config) Finish(p Program) error {
	c.Derive()
	var k checks
	if p != Revoker {
		c.listener(&k)
	}
	c.bounds(&k)
	k.need(c.AutoUnseal || !c.AutoInit, "auto_unseal = false needs auto_init = false: the key is handed out by `curfew operator init`")
	k.need(c.AutoUnseal || c.MasterKey.Empty(), "auto_unseal = false and CURFEW_MASTER_KEY: remove one")
	if p == Server {
		k.need(c.DataDir != "", `data_dir is needed: the directory that keeps all state`)
		k.need(c.Store.URL == "", `store "postgres" is for curfew-issuer, curfew-revoker and curfew-auditor; curfew server keeps its own`)
	} else {
		k.need(c.KeyFile != "" || !c.MasterKey.Empty(), "key_file is needed: the master key, the same for all programs")
		k.need(c.AutoUnseal, "auto_unseal = false is for curfew server: the other programs have nowhere to be given the key")
		c.external(&k, p)
	}
	return errors.Join(k...)
}

// checks are the errors of a configuration.
type checks []error

func (k *checks) need(ok bool, format string, args ...any) {
	if !ok {
		*k = append(*k, fmt.Errorf(format, args...))
	}
}

func (c *Config) listener(k *checks) {
	_, _, err := net.SplitHostPort(c.Listener.Address)
	k.need(err == nil, `listener "tcp" needs an address such as "127.0.0.1:8200"`)
	tls := c.Listener.CertFile != "" && c.Listener.KeyFile != ""
	k.need(c.Listener.Plain || tls, `listener "tcp" needs tls_cert_file and tls_key_file, or tls_disable = true`)
	k.need(!c.Listener.Plain || c.Listener.CertFile == "" && c.Listener.KeyFile == "" && c.Listener.ClientCAFile == "" && !c.Listener.RequireClientCert,
		`listener "tcp" has both tls_disable and a certificate: remove one`)
	k.need(!c.Listener.RequireClientCert || c.Listener.ClientCAFile != "", "tls_require_and_verify_client_cert needs tls_client_ca_file")
	k.need(slices.Contains([]string{"tls12", "tls13"}, c.Listener.MinVersion), "tls_min_version %q is not tls12 or tls13", c.Listener.MinVersion)
	k.need(c.Listener.MaxRequestSize > 0, "max_request_size must be above 0")
	k.need(c.Listener.MaxRequestDuration >= time.Second, "max_request_duration must be at least 1s")
}

func (c *Config) bounds(k *checks) {
	k.need(c.TTL.Default > 0 && c.TTL.Max > 0, "default_lease_ttl and max_lease_ttl must be above 0")
	k.need(c.TTL.Default <= c.TTL.Max, "lease TTL too large: default_lease_ttl is above max_lease_ttl")
	k.need(slices.Contains([]string{"trace", "debug", "info", "warn", "error"}, c.Log.Level), "log_level %q is not one of trace, debug, info, warn, error", c.Log.Level)
	k.need(slices.Contains([]string{"json", "text"}, c.Log.Format), "log_format %q is not json or text", c.Log.Format)
	k.need(c.Limits.Backlog > 0 && c.Limits.InFlight > 0 && c.Limits.Lag > 0, "limits must be above 0")
	k.need(c.Limits.Tokens >= 0, "cached_tokens must be 0, for none, or more")
	k.need(c.Expiry.StraySweep > 0, "stray_sweep must be above 0")
	k.need(c.Expiry.Lanes >= 0 && c.Expiry.Lanes <= 1<<16, "lanes of expiry must be 0 to 65536")
	for _, dir := range c.Audit.DeviceDirs {
		k.need(filepath.IsAbs(dir) && filepath.Clean(dir) != "/", "%q in device_dirs of audit is not the absolute path of a directory other than /", dir)
	}
	k.need(c.Store.MaxConns >= 4, "max_connections of the store must be at least 4")
	k.need(c.NATS.Replicas >= 1 && c.NATS.Replicas <= 5, "replicas of nats must be 1 to 5")
	if c.Monitor.Address != "" {
		_, _, err := net.SplitHostPort(c.Monitor.Address)
		k.need(err == nil, `monitor address %q is not host:port`, c.Monitor.Address)
	}
	k.need(c.Monitor.Address != "" || !c.Monitor.Profiles, "profiles of monitor need its address")
	if c.NATS.Listen != "" {
		_, _, err := net.SplitHostPort(c.NATS.Listen)
		k.need(err == nil, `nats listen %q is not host:port`, c.NATS.Listen)
	}
}

// external is what the programs of the distributed form need.
func (c *Config) external(k *checks, p Program) {
	k.need(c.Store.URL != "", `store "postgres" needs a url such as "postgres://curfew@db.example.com/curfew?sslmode=verify-full"`)
	for _, text := range []string{c.Store.URL, c.Store.MigrateURL, c.Store.ListenURL} {
		u, err := url.Parse(text)
		k.need(err == nil && (text == "" || u.Scheme == "postgres" || u.Scheme == "postgresql"), "a url of the store is not one of postgres://")
		if err == nil && u.User != nil {
			_, has := u.User.Password()
			k.need(!has, "a url of the store has a password: put it into a file and name it with password_file")
		}
	}
	k.need(len(c.NATS.Servers) > 0, `nats needs servers such as ["nats://nats.example.com:4222"]`)
	for _, s := range c.NATS.Servers {
		u, err := url.Parse(s)
		k.need(err == nil && u.Host != "", "nats server %q is no URL", redacted(s))
		k.need(err != nil || u.User == nil, "nats server has a user in its URL: use user and password_file")
	}
	k.need(c.NATS.Listen == "", "nats listen is for curfew server, which has a server of its own")
	switch p {
	case Revoker:
		k.need(len(c.Redis.Addresses) > 0, `redis needs addresses such as ["redis.example.com:6379"]`)
		for _, a := range c.Redis.Addresses {
			_, _, err := net.SplitHostPort(a)
			k.need(err == nil, "redis address %q is not host:port", a)
		}
		k.need(!c.Redis.Cluster || c.Redis.Master == "", "redis is either a cluster or has a master")
		k.need(c.Redis.Window == 0 || c.Redis.Window >= time.Minute, "window of redis must be at least 1m; without it the index knows every live lease")
	case Auditor:
		k.need(c.DataDir != "", "data_dir is needed: where the auditor keeps its catalogue")
	case Issuer:
		for _, a := range c.Audit.URLs {
			u, err := url.Parse(a)
			k.need(err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "", "url %q of an auditor is not one of http:// or https://", redacted(a))
		}
	case Server:
	}
}

// redacted keeps a password that should not be there out of a message.
func redacted(text string) string {
	u, err := url.Parse(text)
	if err != nil || strings.Contains(text, "@") && u.User == nil {
		return "…"
	}
	return u.Redacted()
}

// Print writes the configuration as JSON. It holds no secret.
func (c *Config) Print(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	if err := e.Encode(c); err != nil {
		return fmt.Errorf("print configuration: %w", err)
	}
	return nil
}
