// Package config is the configuration of `curfew server`: an HCL file in the
// form that Vault's users know, environment over it, flags over both.
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
	"path/filepath"
	"slices"
	"time"

	"github.com/curfew-project/curfew/shared/secret"
)

// Config is the whole configuration. The zero value with DataDir and a
// listener is complete.
type Config struct {
	DataDir  string   // all state of the embedded form
	KeyFile  string   // master key; <data_dir>/seal.key
	AutoInit bool     // the first start initialises itself
	Listener Listener // the API
	NATS     NATS     // network access to the event stream
	TTL      TTL      // of the system
	Log      Log
	Limits   Limits
	Expiry   Expiry

	// Of dev mode, by flag only.
	Dev      bool         // keeps nothing
	DevToken secret.Value // the root token
}

// Listener is the API's address and TLS.
type Listener struct {
	Address  string // host:port
	Plain    bool   // tls_disable
	CertFile string // PEM
	KeyFile  string // PEM
}

// NATS is the address on which subscribers reach the stream; empty: none.
type NATS struct{ Listen string }

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
}

// Expiry tunes the revoker.
type Expiry struct {
	StraySweep time.Duration
	Paused     bool // nothing is revoked: for tests and emergencies
}

const (
	systemTTL      = 768 * time.Hour // Vault's default for both
	defaultBacklog = 1_000_000
	defaultFlight  = 1024
)

// Default is the configuration before file, environment and flags.
func Default() Config {
	return Config{
		AutoInit: true,
		TTL:      TTL{Default: systemTTL, Max: systemTTL},
		Log:      Log{Level: "info", Format: "json"},
		Limits:   Limits{Backlog: defaultBacklog, InFlight: defaultFlight},
		Expiry:   Expiry{StraySweep: time.Minute},
	}
}

// Finish fills what depends on other fields, and validates.
func (c *Config) Finish() error {
	c.KeyFile = cmp.Or(c.KeyFile, filepath.Join(c.DataDir, "seal.key"))
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	check(c.DataDir != "", `data_dir is needed: the directory that keeps all state`)
	_, _, err := net.SplitHostPort(c.Listener.Address)
	check(err == nil, `listener "tcp" needs an address such as "127.0.0.1:8200"`)
	tls := c.Listener.CertFile != "" && c.Listener.KeyFile != ""
	check(c.Listener.Plain || tls, `listener "tcp" needs tls_cert_file and tls_key_file, or tls_disable = true`)
	check(!c.Listener.Plain || c.Listener.CertFile == "" && c.Listener.KeyFile == "",
		`listener "tcp" has both tls_disable and a certificate: remove one`)
	check(c.TTL.Default > 0 && c.TTL.Max > 0, "default_lease_ttl and max_lease_ttl must be above 0")
	check(c.TTL.Default <= c.TTL.Max, "lease TTL too large: default_lease_ttl is above max_lease_ttl")
	check(slices.Contains([]string{"trace", "debug", "info", "warn", "error"}, c.Log.Level), "log_level %q is not one of trace, debug, info, warn, error", c.Log.Level)
	check(slices.Contains([]string{"json", "text"}, c.Log.Format), "log_format %q is not json or text", c.Log.Format)
	check(c.Limits.Backlog > 0 && c.Limits.InFlight > 0, "limits must be above 0")
	check(c.Expiry.StraySweep > 0, "stray_sweep must be above 0")
	if c.NATS.Listen != "" {
		_, _, err := net.SplitHostPort(c.NATS.Listen)
		check(err == nil, `nats listen %q is not host:port`, c.NATS.Listen)
	}
	return errors.Join(errs...)
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
