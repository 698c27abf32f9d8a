// Command curfew-issuer serves the HTTP API. Any number of them run beside each
// other behind a load balancer; none has state of its own.
package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"

	"github.com/curfew-project/curfew/issuer"
	"github.com/curfew-project/curfew/services/internal/config"
	"github.com/curfew-project/curfew/services/internal/monitor"
	"github.com/curfew-project/curfew/services/internal/program"
	"github.com/curfew-project/curfew/services/internal/relay"
	"github.com/curfew-project/curfew/services/internal/version"
	"github.com/curfew-project/curfew/shared/fsck"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/secret"
	"github.com/curfew-project/curfew/shared/step"
)

func main() {
	os.Exit(program.Main(config.Issuer, "Serve the HTTP API: issue, renew and revoke", role))
}

func role(ctx context.Context, p *program.Process) error {
	var record reader
	watch := monitor.Issuer(p.Config.Limits.Backlog, func() bool { return len(p.Install.Guard()) > 0 })
	p.Monitor.Register(watch)
	var tail atomic.Pointer[func(context.Context) *fsck.Tail]
	api, err := issuer.New(issuer.Deps{
		Store: p.Store, Engines: p.Engines(), Seal: p.Install, Keys: p.Install, Sealer: p.Install, Clock: p.Clock, Log: p.Part("issuer"),
	}, issuer.Config{
		Version: version.Version, DefaultTTL: p.Config.TTL.Default, MaxTTL: p.Config.TTL.Max,
		MaxBacklog: p.Config.Limits.Backlog, MaxLag: p.Config.Limits.Lag, MaxInFlight: int(p.Config.Limits.InFlight),
		CachedTokens: p.Config.Limits.CachedTokens(),
		Observer:     watch,
		MaxBody:      p.Config.Listener.MaxRequestSize, Within: p.Config.Listener.MaxRequestDuration,
		Mounted: map[string]http.Handler{"/v1/audit/": &record},
		Tail: func(ctx context.Context) *fsck.Tail {
			if ask := tail.Load(); ask != nil {
				return (*ask)(ctx)
			}
			return &fsck.Tail{Error: "the issuer has not started yet"}
		},
	})
	if err != nil {
		return err
	}
	p.Install.Roots(func(ctx context.Context, text secret.Value) error {
		_, err := api.RootToken(ctx, text, lease.System("system:init"))
		return err
	})
	p.Monitor.Register(monitor.TokenCache(api.TokenCache))
	p.Life.Run(ctx, "issuer", api.Run)
	p.Life.Run(ctx, "seal", step.New(p.Clock, p.Part("seal"), step.Config{}, p.Install).Run)
	// It answers before it is initialised: sys/init is one of its paths.
	if err := p.Serve(ctx, api.Server(), func() {}); err != nil {
		return err
	}
	if err := firstStart(ctx, p); err != nil {
		return err
	}
	if err := p.Await(ctx); err != nil {
		return err
	}
	if err := record.open(p); err != nil {
		return err
	}
	stream, err := p.OpenStream(ctx)
	if err != nil {
		return err
	}
	ask := program.Tail(stream)
	tail.Store(&ask)
	return p.Publish(ctx, stream)
}

// firstStart makes the installation where the configuration says so and no
// other process has made it.
func firstStart(ctx context.Context, p *program.Process) error {
	if !p.Config.AutoInit {
		return nil
	}
	known, err := p.Install.Load(ctx)
	if known || err != nil {
		return err
	}
	if err := os.MkdirAll(p.Config.DataDir, 0o700); err != nil {
		return fmt.Errorf("make the data directory: %w", err)
	}
	err = p.Install.AutoInit(ctx, p.Clock, filepath.Join(p.Config.DataDir, "root-token"))
	if errors.Is(err, issuer.ErrInitialized) {
		return nil
	}
	return err
}

// reader serves the record once it is known where it is.
type reader struct{ to atomic.Pointer[http.Handler] }

func (r *reader) open(p *program.Process) error {
	key, err := p.Install.Derive(relay.Purpose)
	if err != nil {
		return err
	}
	transport, err := relay.Transport(p.Config.Audit.CAFile)
	if err != nil {
		return err
	}
	h, err := relay.To(p.Config.Audit.URLs, key, transport, p.Part("relay"))
	if err != nil {
		return err
	}
	r.to.Store(&h)
	return nil
}

// ServeHTTP implements [http.Handler].
func (r *reader) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if h := r.to.Load(); h != nil {
		(*h).ServeHTTP(w, req)
		return
	}
	w.Header().Set("Retry-After", "1")
	http.Error(w, `{"errors":["the issuer has not started yet"]}`, http.StatusServiceUnavailable)
}
