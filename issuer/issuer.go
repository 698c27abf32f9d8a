package issuer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/issuer/internal/access"
	"github.com/curfew-project/curfew/issuer/internal/api"
	"github.com/curfew-project/curfew/issuer/internal/audit"
	"github.com/curfew-project/curfew/issuer/internal/auth"
	"github.com/curfew-project/curfew/issuer/internal/auth/approle"
	"github.com/curfew-project/curfew/issuer/internal/inspect"
	"github.com/curfew-project/curfew/issuer/internal/issuing"
	"github.com/curfew-project/curfew/issuer/internal/leases"
	"github.com/curfew-project/curfew/issuer/internal/mounts"
	"github.com/curfew-project/curfew/issuer/internal/operator"
	"github.com/curfew-project/curfew/issuer/internal/passwords"
	"github.com/curfew-project/curfew/issuer/internal/quota"
	"github.com/curfew-project/curfew/issuer/internal/record"
	"github.com/curfew-project/curfew/issuer/internal/status"
	"github.com/curfew-project/curfew/issuer/internal/tokencache"
	"github.com/curfew-project/curfew/issuer/internal/tokens"
	"github.com/curfew-project/curfew/issuer/internal/wrapping"
	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/fsck"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/secret"
	"github.com/curfew-project/curfew/shared/step"
	"github.com/curfew-project/curfew/shared/store"
)

// Store is what an issuer needs of the store.
type Store interface {
	store.Leases
	store.Entries
	store.Outbox
	store.Changes
	store.Time
	// Suspension is that of [store.Recovery].
	Suspension(ctx context.Context) (store.Suspension, bool, error)
}

// Seal guards the secrets of the configuration; the program that runs the
// issuer has it.
type Seal = status.Seal

// SealStatus is what a [Seal] says.
type SealStatus = status.SealStatus

// InitRequest is what a client asks of [Seal].Initialize.
type InitRequest = status.InitRequest

// InitResult is what a client gets from it, once.
type InitResult = status.InitResult

// Observer is told what operators want to see of issuing.
type Observer = issuing.Observer

// Reasons are those that [Observer].Refused is told.
func Reasons() []string { return issuing.Reasons() }

// LockoutConfig says when an alias is locked that fails to log in.
type LockoutConfig = auth.LockoutConfig

// The errors of [Seal].
var (
	ErrInitialized    = status.ErrInitialized
	ErrNotAllowed     = status.ErrNotAllowed
	ErrNotInitialized = status.ErrNotInitialized
	ErrNoKey          = status.ErrNoKey
	ErrWrongKey       = status.ErrWrongKey
	ErrNoShares       = status.ErrNoShares
)

// Keys derives keys from the seal.
type Keys = tokens.Keys

// EachKey is the optional ability of [Keys] to survive a change of master key.
type EachKey = tokens.EachKey

// Sealer keeps secrets that the store must not see.
type Sealer = audit.Sealer

// Deps are the collaborators; all are needed.
type Deps struct {
	Store   Store
	Engines []engine.Engine
	Seal    Seal
	Keys    Keys
	Sealer  Sealer
	Clock   clock.Clock
	Log     zerolog.Logger
}

// Config tunes an [Issuer]; the zero value works.
type Config struct {
	Version string // of the program, shown to clients; "0.0.0"

	DefaultTTL time.Duration // of leases and tokens; 768 h
	MaxTTL     time.Duration // 768 h

	MaxBacklog  int64         // unconfirmed events above which nothing is issued (D4); 1,000,000
	MaxLag      time.Duration // of revocation on a target, above which nothing is issued there; 2 min
	MaxBody     int64         // bytes of a request's body; 1 MiB
	MaxInFlight int           // requests served at once; 1,024
	MaxRevoking int           // of those that take access away, beside them; 512
	MaxStreams  int           // requests served at once by Mounted, beside them; 256
	// CachedTokens is how many tokens are kept of those that asked last, so that
	// not each request reads its own (D7); 16,384, below 0: none.
	CachedTokens int
	Within       time.Duration // budget of a request; 90 s
	SyncWithin   time.Duration // how long a synchronous revocation waits; 60 s
	ForceAfter   time.Duration // how long revoke-force leaves the pipeline its chance; 5 s
	// DeniedPerSecond: refused requests that are events one by one; more are
	// counted. 10.
	DeniedPerSecond int
	// CountEvery is how often such counts are committed; 10 s.
	CountEvery time.Duration

	Observer Observer // of issuing; nil: nobody

	// Lockout of who fails to log in; five failures lock for 15 minutes.
	Lockout LockoutConfig

	// Mounted are handlers of other roles, by the path prefix that they serve
	// ("/v1/audit/"). They get only requests with a valid token.
	Mounted map[string]http.Handler
	// Tail, if set, asks for the end of the event stream, for sys/fsck.
	Tail func(context.Context) *fsck.Tail
}

// Issuer is the role.
type Issuer struct {
	clock    clock.Clock
	log      zerolog.Logger
	api      *api.API
	tokens   *tokens.Registry
	cache    *tokens.Cache
	ends     *leases.Ends
	unwatch  func()
	recorder *record.Recorder
	runner   *step.Runner
}

// New wires an issuer; it starts nothing.
func New(d Deps, cfg Config) (*Issuer, error) {
	if d.Store == nil || d.Seal == nil || d.Keys == nil || d.Sealer == nil || d.Clock == nil {
		return nil, errors.New("make issuer: store, seal, keys, sealer and clock are needed")
	}
	engines := make(map[string]engine.Engine, len(d.Engines))
	types := make(map[string]bool, len(d.Engines))
	for _, e := range d.Engines {
		if types[e.Type()] {
			return nil, fmt.Errorf("make issuer: two engines have the type %q", e.Type())
		}
		engines[e.Type()], types[e.Type()] = e, true
	}
	const month = 768 * time.Hour // of 32 days, as stock servers have it
	system := lease.TTLs{Default: cmp.Or(cfg.DefaultTTL, month), Max: cmp.Or(cfg.MaxTTL, month)}
	if system.Default < 0 || system.Max < 0 || system.Default > system.Max {
		return nil, fmt.Errorf("make issuer: lease TTL too large: default_lease_ttl %s, max_lease_ttl %s", system.Default, system.Max)
	}
	cfg.Version = cmp.Or(cfg.Version, "0.0.0")
	committed, unwatch := commits(d.Store)
	cache := tokencache.New[*tokens.Known](d.Clock, tokencache.Config{Max: cfg.CachedTokens})
	steps, unfollow := following(d, cache)
	d.Store = forgetfulStore{sealedStore{d.Store, d.Seal}, cache}
	ends := leases.NewEnds(d.Store, d.Clock, committed)

	recorder := record.New(d.Store, d.Clock, record.Config{DeniedPerSecond: cfg.DeniedPerSecond, CountEvery: cfg.CountEvery})
	policies := access.NewBook(d.Store, d.Clock, d.Log)
	registry := tokens.New(d.Store, d.Keys, cache, d.Log, system)
	book := leases.New(d.Store, engines, ends, d.Clock, d.Log, leases.Config{
		SyncWithin: cfg.SyncWithin, ForceAfter: cfg.ForceAfter, Hidden: tokens.Hidden,
	})
	lockout := auth.NewLockout(d.Store, cfg.Lockout)
	methods := auth.New(d.Store, book, []auth.Method{approle.New(d.Store, d.Keys, lockout, d.Log, system)}, d.Log,
		auth.Config{System: system, Version: cfg.Version})
	desk := operator.New(d.Store, d.Seal, engines)
	table := mounts.New(d.Store, book, d.Log, mounts.Config{System: system, Types: types, Version: cfg.Version})
	quotas := quota.New(d.Store, d.Clock, d.Log, table.Serves)
	watch := operator.NewWatch(d.Store, d.Clock, d.Log)
	parts := api.Parts{
		Clock: d.Clock, Log: d.Log, Engines: engines,
		Tokens: registry, Policies: policies, Auth: methods, Leases: book, Recorder: recorder,
		Mounts: table, Quotas: quotas,
		Issuing:  issuing.New(d.Store, d.Clock, d.Log, issuing.Config{System: system, MaxBacklog: cfg.MaxBacklog, MaxLag: cfg.MaxLag, Observer: cfg.Observer}),
		Wrapping: wrapping.New(d.Store, system.Max),
		Status:   status.New(d.Seal, watch, d.Clock, cfg.Version), Operator: desk,
		Inspect:   inspect.New(d.Store, engines, cfg.Tail),
		Passwords: passwords.New(d.Store),
		Audit:     audit.New(d.Store, d.Sealer, registry, d.Clock),
	}
	return &Issuer{
		clock: d.Clock, log: d.Log, tokens: registry, cache: cache, recorder: recorder,
		ends:    ends,
		unwatch: func() { unwatch(); unfollow() },
		api: api.New(parts, api.Config{
			MaxBody: cfg.MaxBody, MaxInFlight: cfg.MaxInFlight, MaxRevoking: cfg.MaxRevoking,
			MaxStreams: cfg.MaxStreams, Within: cfg.Within, Mounted: cfg.Mounted,
		}),
		runner: step.New(d.Clock, d.Log, step.Config{}, append(steps, recorder, watch, policies, quotas, ends,
			&sweep{"auth disabling", finishEvery, methods.Finish}, &sweep{"auth tidy", tidyEvery, methods.Tidy})...),
	}, nil
}

// commits are the hints of a store that something was committed, and what ends
// them; none where it gives none.
func commits(s Store) (<-chan struct{}, func()) {
	if w, ok := s.(store.Watcher); ok {
		return w.Watch()
	}
	return nil, func() {}
}

// Tell passes on a lease as another role in this process has committed it, to the
// requests that wait for its end. They find out without it, too.
func (i *Issuer) Tell(l *lease.Lease) { i.ends.Tell(l) }

// Handler is the HTTP API. It sets deadlines of its own for the body and the
// answer of each request; see [Issuer.Server] for those of the connection.
func (i *Issuer) Handler() http.Handler { return i.api }

// Server is an HTTP server of the API with bounds on what a connection may do.
// Address, TLS and listening are the caller's.
func (i *Issuer) Server() *http.Server {
	return &http.Server{
		Handler:           i.api,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       5 * time.Minute,
		MaxHeaderBytes:    64 << 10,
	}
}

// Run does the issuer's background work until ctx ends, and commits what is
// left of it. Requests are served with or without it; health then knows nothing of
// the store.
func (i *Issuer) Run(ctx context.Context) error {
	defer i.unwatch()
	return errors.Join(i.runner.Run(ctx), i.recorder.Flush(ctx))
}

// RootToken makes a token that never expires and may do everything, and
// returns its text. An empty text lets it choose one; an existing valid token
// of the text is kept. For initialising an installation, and for dev mode.
func (i *Issuer) RootToken(ctx context.Context, text secret.Value, by lease.Actor) (secret.Value, error) {
	return i.tokens.Root(ctx, text, by)
}

const (
	// finishEvery is how soon what a crash left of disabling an auth method is
	// taken up: its tokens are valid until then.
	finishEvery = time.Second
	// tidyEvery is how often auth methods forget what has ended.
	tidyEvery = time.Hour
)

// sweep is a step that every issuer may do.
type sweep struct {
	name  string
	every time.Duration
	do    func(context.Context) error
}

// Name implements [step.Step].
func (s *sweep) Name() string { return s.name }

// Do implements [step.Step].
func (s *sweep) Do(ctx context.Context) (time.Duration, error) { return s.every, s.do(ctx) }
