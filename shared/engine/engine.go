package engine

import (
	"context"
	"time"

	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/secret"
	"github.com/curfew-project/curfew/shared/store"
)

// Engine is one type of secret engine.
type Engine interface {
	// Type is the name that `secrets enable` takes: "database".
	Type() string
	Configurer
	Creator
	Revoker
}

// Configurer serves the paths of a mount.
type Configurer interface {
	// Handle serves everything below a mount but credentials: configuration,
	// roles, rotation. A nil response means done, with nothing to say.
	Handle(ctx context.Context, r *Request) (*Response, error)
	// Plan resolves a request for a credential into what its lease freezes. It
	// returns nil, nil where the path is not one that issues credentials.
	// Nothing is changed by it.
	Plan(ctx context.Context, r *Request) (*Plan, error)
	// Disabled is called after the last lease of a mount has ended: the engine
	// deletes what it kept for it.
	Disabled(ctx context.Context, mountID string) error
}

// Finder is the optional ability of a [Configurer] to say whether what a path
// names is there: policies tell making something from changing it.
type Finder interface {
	// Exists is for a Write. known is false where a path makes no difference.
	Exists(ctx context.Context, r *Request) (exists, known bool, err error)
}

// Operation is what a request wants.
type Operation string

// The operations. PUT and POST are both Write.
const (
	Read   Operation = "read"
	Write  Operation = "write"
	Delete Operation = "delete"
	List   Operation = "list"
)

// Request is one request below a mount.
type Request struct {
	Operation Operation
	MountID   string         // incarnation
	Mount     string         // path of the mount, with trailing slash
	Path      string         // below the mount: "roles/readonly"
	Data      map[string]any // the JSON body, or the query of a read
	Actor     lease.Actor
	// LeaseID is the id that the lease will have, for Plan.
	LeaseID lease.ID
	// After and Limit page a List; Limit 0 means all.
	After string
	Limit int
}

// Response is the answer to a request that issues no lease.
type Response struct {
	Data     map[string]any
	Warnings []string
}

// Plan is what a lease of a role freezes, and what its creation needs.
type Plan struct {
	Role      string
	Target    string // incarnation of the connection: the lane
	Account   string // name in the target, derived from the lease id (B2)
	Frozen    []byte // Lease.Plan
	Limits    lease.TTLs
	Renewable bool
	// Grace is how long the creation may take before it is rolled back.
	Grace time.Duration
	// TargetOffset is the target's clock minus the store's, as last sampled.
	TargetOffset time.Duration
	// Guard names the role and the connection (A3).
	Guard []store.Ref
	// Secret is what the creation needs and the store must not see.
	Secret   secret.Value
	Warnings []string
}

// Creator makes and prolongs credentials.
type Creator interface {
	// Create makes each credential. The caller's lease is in state intent.
	Create(ctx context.Context, target string, batch []Creation) []Created
	// Renew moves the target's own expiry of each (B9).
	Renew(ctx context.Context, target string, batch []Renewal) []Renewed
}

// Creation is one credential to be made.
type Creation struct {
	Lease  lease.Lease
	Secret secret.Value // from the plan
}

// Created is its outcome.
type Created struct {
	// Data is the answer to the client: user name, password.
	Data map[string]any
	// Handle is kept on the lease for the revocation.
	Handle []byte
	Err    error
}

// Renewal is one lease whose expiry in the target moves. Without If it only moves
// later, and always moves: where the target's expiry is as late already, by the
// least that the target can tell apart. So whoever finds the expiry that its own
// renewal left knows that nobody has renewed since.
type Renewal struct {
	Lease lease.Lease
	// Remaining is the time from now to the new expiry by the store's clock;
	// 0: it never expires.
	Remaining time.Duration
	// If, unless empty, is the expiry that an earlier renewal left. Only with that
	// one is the expiry moved, be it earlier; with another nothing happens, and
	// the error is of kind Conflict.
	If Expiry
	// To, unless empty, is the expiry that is set, in place of Remaining; with If.
	To Expiry
}

// Expiry is a target's own expiry of one account, as the engine writes it. It is
// good for nothing but to be compared and given back.
type Expiry string

// Renewed is the outcome of a Renewal.
type Renewed struct {
	// Was and Now are the target's expiry before and after; what is between them
	// was this renewal's doing alone.
	Was, Now Expiry
	Err      error
}

// Revoker takes access away, in the stages of C1.
type Revoker interface {
	// Disable is stages (a) and (b): no new login, no session left.
	Disable(ctx context.Context, target string, batch []lease.Lease) []Outcome
	// Remove is stages (c) and (d): the account is gone and that was seen. It
	// repeats (a) and (b) where a retry needs it.
	Remove(ctx context.Context, target string, batch []lease.Lease) []Outcome
}

// Outcome says how far one lease came.
type Outcome struct {
	// Disabled, SessionsEnded: stages (a), (b) hold in the target now.
	Disabled bool
	// DisabledAgo is how long before the return (a) was committed: (b) may wait
	// for sessions.
	DisabledAgo   time.Duration
	SessionsEnded bool
	SessionsNote  string // "primary only" (C3)
	// Gone: absence was proved (d). RanOut: it cannot be recalled and ran out.
	Gone   bool
	RanOut bool
	Err    error // an *Error
}

// Sweeper is the optional ability to look for what no lease stands for (B3).
type Sweeper interface {
	// Targets lists the connections that can hold accounts: also deleted ones
	// that leases still need.
	Targets(ctx context.Context) ([]Target, error)
	// Accounts lists accounts that bear this installation's mark, ordered by
	// name, after a name.
	Accounts(ctx context.Context, target, after string, limit int) ([]Account, error)
	// StrayPlan is the plan of a stray's revocation: the safe default.
	StrayPlan(ctx context.Context, target string, a Account) (plan, handle []byte, err error)
	// EndGhosts ends sessions in the target whose account no longer exists
	// (C2); it returns how many.
	EndGhosts(ctx context.Context, target string) (int, error)
}

// Watcher is the optional ability of a [Sweeper] to tell that a target is not
// the one that it was: restored, failed over, or restarted after a crash. What
// was taken away before may be back, so that it is swept at once (C6).
type Watcher interface {
	// Incarnation names the present life of the target's system.
	Incarnation(ctx context.Context, target string) (string, error)
}

// Marker is the optional ability of a [Sweeper] whose targets can remember who
// sweeps them (B3): the sweep takes nothing away in a target whose mark is not
// this installation's own, as it is where a copy of the installation is at work.
type Marker interface {
	// Mark is the text that the target keeps for a connection; "" for none. It
	// goes through copies and backups of the target with the accounts.
	Mark(ctx context.Context, target string) (string, error)
	// SetMark replaces the mark was, "" for none, by now, a text that
	// [CheckMark] lets pass, in one step: an error of kind Conflict where the
	// mark is another one. After any other error it may have been replaced: read
	// it. The mark goes when the connection's last lease has ended and it is
	// deleted.
	SetMark(ctx context.Context, target, was, now string) error
}

// Target is a connection to a system in which credentials live.
type Target struct {
	ID      string
	MountID string
	Mount   string
	Name    string
}

// Account is a marked account found in a target.
type Account struct {
	Name      string
	CreatedAt time.Time // by its name
}
