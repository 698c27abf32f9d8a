package fsck

import (
	"context"
	"time"

	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/installation"
	"github.com/curfew-project/curfew/shared/lease"
)

// Store is what is read of the store. [Local] reads it in process, a client of
// the issuer's API from afar.
type Store interface {
	// Standing is how far events have come, and who runs.
	Standing(ctx context.Context) (Standing, error)
	// Leases returns leases that have not ended, of every kind, by id, after an
	// id. A page that is shorter than limit is the last.
	Leases(ctx context.Context, after lease.ID, limit int) ([]Row, error)
	// Named returns the leases of an account, in any state.
	Named(ctx context.Context, account string) ([]Row, error)
	// Lease returns a lease in any state; false where there is none.
	Lease(ctx context.Context, id lease.ID) (Row, bool, error)
	// Overdue returns the first leases that fell due more than since ago.
	Overdue(ctx context.Context, since time.Duration, limit int) ([]Row, error)
}

// Targets is what is read of the systems in which credentials live.
type Targets interface {
	// Accounts returns the names of accounts that bear the installation's mark,
	// ordered, after a name. A page that is shorter than limit is the last.
	Accounts(ctx context.Context, target, after string, limit int) ([]string, error)
}

// Ledger is what is read of the record.
type Ledger interface {
	// Record goes through the whole record and yields what is found wrong in it,
	// then each lease of a share that has not ended by it, then its end.
	Record(ctx context.Context, share Share, each func(Line) error) error
}

// Index is what is read of the expiry index, where it is in reach.
type Index interface {
	// Drift compares what falls due soon with the index.
	Drift(ctx context.Context) (Drift, error)
}

// Sources are all sides. A side that is nil cannot be looked at, for the reason
// that Unseen gives by its part.
type Sources struct {
	Store   Store
	Targets Targets
	Ledger  Ledger
	// Index, if nil, is what the revokers say of it.
	Index  Index
	Unseen map[Part]string
	// Stopped: no process runs, so that nothing can change between two looks.
	Stopped bool
}

// Row is what is compared of a lease.
type Row struct {
	ID        lease.ID    `json:"id"`
	Kind      lease.Kind  `json:"kind"`
	State     lease.State `json:"state"`
	Version   int64       `json:"version"`
	Account   string      `json:"account,omitempty"` // of what is in a target
	Target    string      `json:"target,omitempty"`
	ExpiresAt time.Time   `json:"expires_at,omitzero"`
	EndsAt    time.Time   `json:"ends_at,omitzero"` // when access had to end, of one in revocation
	NextAt    time.Time   `json:"next_at,omitzero"` // when a revoker looks at it
	EndedAt   time.Time   `json:"ended_at,omitzero"`
	Attempts  int         `json:"attempts,omitempty"`
	Parked    bool        `json:"parked,omitempty"`
	Error     string      `json:"error,omitempty"`
}

// RowOf takes of l what is compared.
func RowOf(l *lease.Lease) Row {
	r := Row{
		ID: l.ID, Kind: l.Kind, State: l.State, Version: l.Version, Target: l.Target,
		ExpiresAt: l.ExpiresAt, EndsAt: l.Revocation.DueAt, NextAt: l.DueAt(), EndedAt: l.Revocation.EndedAt,
		Attempts: l.Revocation.Attempts, Parked: l.Revocation.Parked, Error: l.Revocation.LastError,
	}
	if l.Kind != lease.Token { // a token's is its accessor
		r.Account = l.Account
	}
	return r
}

// Standing is how things are with the store as a whole.
type Standing struct {
	Now       time.Time      `json:"now"` // the store's clock
	Suspended string         `json:"suspended,omitempty"`
	Doubts    []string       `json:"doubts,omitempty"` // stray sweeps only report
	Contested []string       `json:"contested,omitempty"`
	Head      event.Position `json:"head"`      // the last number given
	Sent      event.Position `json:"sent"`      // the broker acknowledged
	Confirmed event.Position `json:"confirmed"` // the ledger has
	// Unnumbered is how many events wait for a number; -1: not known.
	Unnumbered int64 `json:"unnumbered"`
	// Living is about how many leases have not ended.
	Living    int64                  `json:"living"`
	Targets   []Target               `json:"targets"`
	Processes []installation.Process `json:"processes"`
	// Stream is the end of the event stream as who answers sees it; nil: not asked.
	Stream *Tail `json:"stream,omitempty"`
}

// Target is a connection that can hold accounts.
type Target struct {
	ID   string `json:"id"`
	Name string `json:"name"` // path of its configuration
}

// Tail is the end of the event stream.
type Tail struct {
	// Last is the last event in it; the zero position where it has none.
	Last event.Position `json:"last"`
	// Gone: there is no stream.
	Gone  bool   `json:"gone,omitempty"`
	Error string `json:"error,omitempty"` // the broker did not answer
}

// Drift is what a look at index and store found.
type Drift struct {
	// Down says why the index does not answer; empty: it does.
	Down     string
	Compared int
	Missing  []Row // fall due soon, and the index lacks them
	// Extra is in the index and no lease that falls due then.
	Extra []Member
}

// Member is a place in the index.
type Member struct {
	ID lease.ID
	At time.Time
}

// Line is one line of what a [Ledger] says: one of its fields is set.
type Line struct {
	Wrong *Finding `json:"wrong,omitempty"`
	Lease *Row     `json:"lease,omitempty"` // not ended by the record: ID, Kind, State, Version
	End   *End     `json:"end,omitempty"`
	// Read is how many entries were read so far: the ledger is still being read.
	Read int64 `json:"read,omitempty"`
}

// End is what a [Ledger] says last.
type End struct {
	Last    event.Position `json:"last"`
	Entries int64          `json:"entries"`
	Leases  int64          `json:"leases"` // of which it tells
	Signed  int64          `json:"signed"` // entries under checkpoints
}
