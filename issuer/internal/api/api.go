package api

import (
	"cmp"
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/issuer/internal/access"
	"github.com/curfew-project/curfew/issuer/internal/audit"
	"github.com/curfew-project/curfew/issuer/internal/auth"
	"github.com/curfew-project/curfew/issuer/internal/inspect"
	"github.com/curfew-project/curfew/issuer/internal/issuing"
	"github.com/curfew-project/curfew/issuer/internal/leases"
	"github.com/curfew-project/curfew/issuer/internal/mounts"
	"github.com/curfew-project/curfew/issuer/internal/operator"
	"github.com/curfew-project/curfew/issuer/internal/passwords"
	"github.com/curfew-project/curfew/issuer/internal/quota"
	"github.com/curfew-project/curfew/issuer/internal/record"
	"github.com/curfew-project/curfew/issuer/internal/request"
	"github.com/curfew-project/curfew/issuer/internal/status"
	"github.com/curfew-project/curfew/issuer/internal/tokens"
	"github.com/curfew-project/curfew/issuer/internal/wire"
	"github.com/curfew-project/curfew/issuer/internal/wrapping"
	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/engine"
)

// Config tunes an [API]; the zero value works.
type Config struct {
	MaxBody     int64         // bytes of a request's body; 1 MiB
	MaxInFlight int           // requests served at once; 1,024
	MaxRevoking int           // of those that take access away, beside them; 512
	MaxStreams  int           // requests served at once by Mounted, beside them; 256
	Within      time.Duration // budget of a request; 90 s
	ReadWithin  time.Duration // for its body; 30 s
	WriteWithin time.Duration // for its answer; 30 s
	// Mounted are handlers of others, by the path prefix that they serve, such
	// as "/v1/audit/". They get only requests with a valid token.
	Mounted map[string]http.Handler
}

// Parts are what an API is made of; all are needed.
type Parts struct {
	Clock    clock.Clock
	Log      zerolog.Logger
	Engines  map[string]engine.Engine
	Tokens   *tokens.Registry
	Policies *access.Book
	Auth     *auth.Table
	Mounts   *mounts.Table
	Leases   *leases.Book
	Issuing  *issuing.Desk
	Wrapping *wrapping.Desk
	Quotas   *quota.Desk
	Status   *status.Desk
	Operator *operator.Desk
	Inspect  *inspect.Desk
	Audit    *audit.Desk
	Recorder *record.Recorder

	Passwords *passwords.Desk
}

// API is the handler.
type API struct {
	Parts
	cfg     Config
	access  *access.Desk
	routes  []route
	helps   []engine.Help
	open    map[string]openRoute
	mounted []mounted

	general, revoking, streams room
}

type mounted struct {
	prefix  string
	handler http.Handler
}

const unsealPath = "sys/unseal"

// openRoute serves a path without a token.
type openRoute func(ctx context.Context, query url.Values) (*wire.Answer, error)

// New returns the handler.
func New(p Parts, cfg Config) *API {
	cfg.MaxBody = cmp.Or(cfg.MaxBody, 1<<20)
	cfg.MaxInFlight = cmp.Or(cfg.MaxInFlight, 1024)
	cfg.MaxRevoking = cmp.Or(cfg.MaxRevoking, 512)
	cfg.MaxStreams = cmp.Or(cfg.MaxStreams, 256)
	cfg.Within = cmp.Or(cfg.Within, 90*time.Second)
	cfg.ReadWithin = cmp.Or(cfg.ReadWithin, 30*time.Second)
	cfg.WriteWithin = cmp.Or(cfg.WriteWithin, 30*time.Second)
	a := &API{
		Parts: p, cfg: cfg,
		general: newRoom(cfg.MaxInFlight), revoking: newRoom(cfg.MaxRevoking), streams: newRoom(cfg.MaxStreams),
	}
	a.access = access.New(p.Policies, p.Tokens, a.exists)
	a.routes, a.helps = a.table(), helps()
	a.open = map[string]openRoute{
		"sys/health":      p.Status.Health,
		"sys/seal-status": p.Status.SealStatus,
		"sys/leader":      p.Status.Leader,
		"sys/init":        p.Status.Initialized,
		unsealPath:        func(context.Context, url.Values) (*wire.Answer, error) { return nil, wire.UnsupportedOperation() },
	}
	for prefix, h := range cfg.Mounted {
		a.mounted = append(a.mounted, mounted{prefix, h})
	}
	// The longest prefix is the one that is meant.
	slices.SortFunc(a.mounted, func(x, y mounted) int { return len(y.prefix) - len(x.prefix) })
	return a
}

// room bounds what is in flight.
type room chan struct{}

func newRoom(n int) room { return make(room, n) }

// enter takes a place if there is one; leave gives it back.
func (r room) enter() (leave func(), ok bool) {
	select {
	case r <- struct{}{}:
		return func() { <-r }, true
	default:
		return nil, false
	}
}

// revocation reports whether the request takes access away: it has room of its
// own, and never waits for its record.
func revocation(op engine.Operation, path string) bool {
	if op != engine.Write {
		return false
	}
	switch path {
	case "auth/token/revoke", "auth/token/revoke-self", "auth/token/revoke-accessor", "auth/token/revoke-orphan",
		"sys/leases/revoke", "sys/revoke":
		return true
	}
	below, ok := strings.CutPrefix(path, "sys/leases/")
	if !ok {
		below, ok = strings.CutPrefix(path, "sys/") // the older names
	}
	verb, _, _ := strings.Cut(below, "/")
	switch verb {
	case "revoke", "revoke-prefix", "revoke-force", "retry", "retry-prefix", "retry-connection", "abandon":
		return ok
	}
	return false
}

// handlerFor is the handler of others that serves an URL's path.
func (a *API) handlerFor(path string) http.Handler {
	for _, m := range a.mounted {
		if strings.HasPrefix(path, m.prefix) || path+"/" == m.prefix {
			return m.handler
		}
	}
	return nil
}

// answerer serves one operation of a path; rest is what follows its pattern.
type answerer func(ctx context.Context, r *request.Request, rest string) (*wire.Answer, error)
