package program

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/curfew-project/curfew/services/internal/config"
	"github.com/curfew-project/curfew/services/internal/monitor"
	"github.com/curfew-project/curfew/services/internal/unseal"
	"github.com/curfew-project/curfew/shared/bus/jetstream"
	"github.com/curfew-project/curfew/shared/engine/database"
	"github.com/curfew-project/curfew/shared/expiry/redis"
	"github.com/curfew-project/curfew/shared/secret"
	"github.com/curfew-project/curfew/shared/step"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/store/postgres"
)

const (
	// again is how long a store that is away is left alone before it is tried anew.
	again = time.Second
	// dialWithin bounds what a start waits for an event stream that is connected
	// and does not answer, as a cluster without a majority.
	dialWithin = 2 * time.Second
)

// openStore connects to the store, which may be away, and makes what rests on
// it alone.
func (p *Process) openStore(ctx context.Context) error {
	cfg, err := storeConfig(p.Config.Store)
	if err != nil {
		return err
	}
	owner, err := schemaOwner(p.Config.Store)
	if err != nil {
		return err
	}
	for {
		if p.Store, err = p.tryStore(ctx, owner, cfg); err == nil {
			break
		}
		// A server that is set up wrong, or a schema of another program, is a
		// person's to mend.
		if ctx.Err() != nil || errors.Is(err, postgres.ErrNewer) || errors.Is(err, postgres.ErrOlder) || errors.Is(err, postgres.ErrUnfit) {
			return err
		}
		p.Log.Warn().Err(err).Msg("the store does not answer; trying again")
		tick, stop := p.Clock.Timer(step.Jitter(2 * again))
		select {
		case <-tick:
		case <-ctx.Done():
			stop()
			return ctx.Err()
		}
	}
	p.Life.OnStop("store", func(context.Context) error { return p.Store.Close() }) //nolint:contextcheck // closing waits for what is under way
	p.Install = unseal.New(p.Store, unseal.Config{
		KeyFile: p.Config.KeyFile, Key: p.Config.MasterKey, Manual: !p.Config.AutoUnseal, Auto: p.Config.AutoInit, StorageType: "postgresql",
	})
	p.engine, err = database.New(database.Deps{Store: p.Store, Sealer: p.Install, Clock: p.Clock, Log: p.Part("database")},
		database.Config{Program: strings.TrimPrefix(string(p.Program), "curfew-")})
	if err != nil {
		return err
	}
	p.Life.OnStop("targets", p.engine.Close)
	p.opened.Store(true)
	p.Monitor.Register(monitor.Store(p.Store, p.Clock))
	p.Monitor.Require(monitor.Check{Name: "store", Ask: p.storeReady})
	return nil
}

// storeReady says whether the store answers and, for those who decide from it,
// whether an auditor has compared it since its server was started (A7): for as
// long as expiry waits for that, since there is more to a program than this.
func (p *Process) storeReady(ctx context.Context) error {
	now, err := p.Store.Now(ctx)
	if err != nil || p.Program == config.Auditor {
		return err
	}
	why, suspended, err := p.Store.Suspension(ctx)
	if err != nil {
		return err
	}
	if age := now.Sub(why.Started); suspended && 0 <= age && age < store.CompareWithin {
		return errors.New(why.Reason)
	}
	return nil
}

// tryStore brings the schema up to date as its owner, where there is one, and
// opens the store.
func (p *Process) tryStore(ctx context.Context, owner secret.Value, cfg postgres.Config) (*postgres.Store, error) {
	if !owner.Empty() {
		if err := postgres.Migrate(ctx, owner, cfg.Schema); err != nil {
			return nil, err
		}
	}
	return postgres.Open(ctx, p.Clock, p.Part("store"), cfg)
}

// schemaOwner is the URL of the login that owns the schema; empty where the
// configuration names none.
func schemaOwner(c config.Store) (secret.Value, error) {
	if c.MigrateURL == "" {
		return secret.Value{}, nil
	}
	password, err := fileSecret(c.MigratePasswordFile)
	if err != nil {
		return secret.Value{}, fmt.Errorf("password of the schema's owner: %w", err)
	}
	return withPassword(c.MigrateURL, password)
}

func storeConfig(c config.Store) (postgres.Config, error) {
	password, err := fileSecret(c.PasswordFile)
	if err != nil {
		return postgres.Config{}, fmt.Errorf("password of the store: %w", err)
	}
	const writers = 4
	out := postgres.Config{Pooled: c.Pooled, Recorded: true, Writers: writers, Readers: int(c.MaxConns)}
	if out.URL, err = withPassword(c.URL, password); err != nil {
		return out, err
	}
	if c.ListenURL != "" {
		out.ListenURL, err = withPassword(c.ListenURL, password)
	}
	return out, err
}

// withPassword puts a password into a URL that has none.
func withPassword(text string, password secret.Value) (secret.Value, error) {
	u, err := url.Parse(text)
	if err != nil {
		return secret.Value{}, errors.New("the store's url is none") // not shown: it may hold a password
	}
	if !password.Empty() {
		u.User = url.UserPassword(u.User.Username(), password.Reveal())
	}
	return secret.New(u.String()), nil
}

// OpenStream connects to the event stream, which may be away.
func (p *Process) OpenStream(ctx context.Context) (*jetstream.Bus, error) {
	c := p.Config.NATS
	password, err := fileSecret(c.PasswordFile)
	if err != nil {
		return nil, fmt.Errorf("password of nats: %w", err)
	}
	dial, cancel := context.WithTimeout(ctx, dialWithin)
	defer cancel()
	bus, err := jetstream.Dial(dial, strings.Join(c.Servers, ","), jetstream.Config{
		Source: "/curfew/" + p.Install.ID(), Replicas: int(c.Replicas), Inspect: p.looks,
		Client: jetstream.Client{
			Program: strings.TrimPrefix(string(p.Program), "curfew-"), User: c.User, Password: password, CredentialsFile: c.CredsFile,
			CAFile: c.CAFile, CertFile: c.CertFile, KeyFile: c.KeyFile,
		},
	})
	if err != nil {
		return nil, err
	}
	p.Life.OnStop("stream", bus.Close)
	p.Monitor.Register(monitor.Stream(bus.Disconnected))
	p.advise(ctx, "stream", "the event stream could be safer", bus.Check)
	return bus, nil
}

// advise logs what a check finds. It runs beside everything else: what it asks
// may be away, and no start waits for that (promise 6).
func (p *Process) advise(ctx context.Context, component, message string, check func(context.Context) []string) {
	p.Life.Run(ctx, component+" check", func(ctx context.Context) error {
		for _, w := range check(ctx) {
			if ctx.Err() == nil {
				p.Log.Warn().Str("component", component).Str("advice", w).Msg(message)
			}
		}
		<-ctx.Done()
		return nil
	})
}

// OpenIndex connects to the expiry index, which may be away.
func (p *Process) OpenIndex(ctx context.Context) (*redis.Index, error) {
	c := p.Config.Redis
	cfg := redis.Config{
		Addresses: c.Addresses, Cluster: c.Cluster, Master: c.Master, Username: c.User, PasswordFile: c.PasswordFile,
		Prefix: "curfew:" + p.Install.ID() + ":",
	}
	if c.TLS || c.CAFile != "" {
		cfg.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
		if c.CAFile != "" {
			pem, err := os.ReadFile(c.CAFile)
			if err != nil {
				return nil, fmt.Errorf("certificates of redis: %w", err)
			}
			cfg.TLS.RootCAs = x509.NewCertPool()
			if !cfg.TLS.RootCAs.AppendCertsFromPEM(pem) {
				return nil, fmt.Errorf("certificates of redis: %s holds none", c.CAFile)
			}
		}
	}
	index, err := redis.New(cfg)
	if err != nil {
		return nil, err
	}
	p.Life.OnStop("index", func(context.Context) error { return index.Close() })
	p.advise(ctx, "index", "the expiry index could be safer", func(ctx context.Context) (found []string) {
		for _, w := range index.Check(ctx) {
			found = append(found, w.String())
		}
		return found
	})
	return index, nil
}

// fileSecret reads a secret from a file; no file, no secret.
func fileSecret(path string) (secret.Value, error) {
	if path == "" {
		return secret.Value{}, nil
	}
	text, err := os.ReadFile(path) //nolint:gosec // the operator names the file
	if err != nil {
		return secret.Value{}, err
	}
	return secret.New(strings.TrimRight(string(text), "\r\n")), nil
}
