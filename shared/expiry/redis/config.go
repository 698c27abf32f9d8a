package redis

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// Config says where Redis is. Addresses is needed; the rest of the zero value
// works.
type Config struct {
	// Addresses are host:port: of one server; of some nodes of a Redis Cluster;
	// or, where Master is set, of Sentinels.
	Addresses []string
	Cluster   bool
	Master    string // name of the master that the Sentinels watch
	DB        int    // not with Cluster

	Username     string
	PasswordFile string // read anew for each connection, so that it may change
	// For the Sentinels themselves.
	SentinelUsername, SentinelPasswordFile string
	TLS                                    *tls.Config // nil: none

	// Prefix of all keys; "curfew:". Installations that share a Redis need one
	// each.
	Prefix string
	// Timeout of each exchange with the server; 2 s.
	Timeout time.Duration
	// Connections to one node, at most; 16.
	Connections int
}

func (c Config) validate() error {
	switch {
	case len(c.Addresses) == 0:
		return errors.New("no address")
	case c.Cluster && c.Master != "":
		return errors.New("both a cluster and a master watched by Sentinels: choose one")
	case c.Cluster && c.DB != 0:
		return errors.New("a Redis Cluster has database 0 only")
	case !c.Cluster && c.Master == "" && len(c.Addresses) > 1:
		return errors.New("several addresses need either a cluster or the name of a master")
	case strings.ContainsAny(c.Prefix, "{}"):
		return errors.New("braces in the prefix: they decide the slot of a key")
	}
	return nil
}

// New returns an index; it connects at the first call.
func New(cfg Config) (*Index, error) {
	cfg.Prefix = cmp.Or(cfg.Prefix, "curfew:")
	cfg.Timeout = cmp.Or(cfg.Timeout, 2*time.Second)
	cfg.Connections = cmp.Or(cfg.Connections, 16)
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("configure Redis: %w", err)
	}
	opts, err := cfg.options()
	if err != nil {
		return nil, fmt.Errorf("configure Redis: %w", err)
	}
	return open(cfg, opts), nil
}

func open(cfg Config, opts *goredis.UniversalOptions) *Index {
	return &Index{
		client: goredis.NewUniversalClient(opts), scripts: newScripts(),
		prefix: cfg.Prefix, timeout: cfg.Timeout, cluster: cfg.Cluster,
	}
}

func (c Config) options() (*goredis.UniversalOptions, error) {
	opts := &goredis.UniversalOptions{
		Addrs: c.Addresses, MasterName: c.Master, IsClusterMode: c.Cluster, DB: c.DB,
		TLSConfig: c.TLS, PoolSize: c.Connections,
		ContextTimeoutEnabled: true,
		DialTimeout:           c.Timeout, ReadTimeout: c.Timeout, WriteTimeout: c.Timeout, PoolTimeout: c.Timeout,
		// Each script may be run twice (doc.go); what is still away after that is
		// tried again by the caller.
		MaxRetries: 2, DialerRetries: 1,
		// RESP2 and no announcing of the library: fewer rights are needed.
		Protocol: 2, DisableIdentity: true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
	if c.PasswordFile != "" {
		if _, err := password(c.PasswordFile); err != nil {
			return nil, err
		}
		opts.CredentialsProviderContext = func(context.Context) (user, pass string, err error) {
			pass, err = password(c.PasswordFile)
			return c.Username, pass, err
		}
	}
	if c.SentinelPasswordFile != "" {
		var err error
		if opts.SentinelPassword, err = password(c.SentinelPasswordFile); err != nil {
			return nil, err
		}
		opts.SentinelUsername = c.SentinelUsername
	}
	return opts, nil
}

// password is the first line of a file.
func password(path string) (string, error) {
	content, err := os.ReadFile(path) //nolint:gosec // the operator names the file
	if err != nil {
		return "", fmt.Errorf("read the password: %w", err)
	}
	line, _, _ := strings.Cut(string(content), "\n")
	if line = strings.TrimSuffix(line, "\r"); line == "" {
		return "", fmt.Errorf("read the password: %s is empty", path)
	}
	return line, nil
}
