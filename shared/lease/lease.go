package lease

import "time"

// Lease is one row of the store. All times are of the store's clock but
// CreateDeadline, which is of the target's (B1). The zero time means "not yet"
// or "never", as each field says.
type Lease struct {
	ID      ID     `json:"id"`
	Kind    Kind   `json:"kind"`
	State   State  `json:"state"`
	Version int64  `json:"version"`
	LastKey string `json:"last_key"` // Key of the change that made this version (A6)

	// Position orders beginnings by commit; set by the store (A4).
	Position int64 `json:"position"`

	MountID  string `json:"mount_id,omitempty"` // incarnation of the mount
	Mount    string `json:"mount,omitempty"`    // its path, with trailing slash
	Role     string `json:"role,omitempty"`
	Engine   string `json:"engine,omitempty"`   // engine type: "database"
	Target   string `json:"target,omitempty"`   // incarnation of the connection: the lane (B7)
	TokenID  ID     `json:"token_id,omitempty"` // the token that asked; the parent, for a token
	Account  string `json:"account,omitempty"`  // name in the target; for a token, its accessor
	Plan     []byte `json:"plan,omitempty"`     // frozen by the engine (A2); no secret
	Handle   []byte `json:"handle,omitempty"`   // what the engine saw in the target (role OID, identity)
	IssuedBy Actor  `json:"issued_by,omitzero"`

	TTL       time.Duration `json:"ttl"`       // granted at issue; the default of a renewal
	MaxTTL    time.Duration `json:"max_ttl"`   // frozen ceiling, counted from the activation; 0: none
	CappedBy  Limit         `json:"capped_by"` // the level that set MaxTTL
	Renewable bool          `json:"renewable"`
	Uses      int           `json:"uses,omitempty"` // requests that a token still serves; 0: any number

	// Of a wrapping token (A9).
	Wraps  bool `json:"wraps,omitempty"`
	Inside ID   `json:"inside,omitempty"` // the lease that ends with it, unless it is opened; empty: none

	IssuedAt       time.Time `json:"issued_at"`                // commit of the beginning
	ConfirmBy      time.Time `json:"confirm_by,omitzero"`      // an intent older than this is rolled back
	CreateDeadline time.Time `json:"create_deadline,omitzero"` // the target refuses the creation from here on (B1)
	ActivatedAt    time.Time `json:"activated_at,omitzero"`    // zero: never confirmed
	RenewedAt      time.Time `json:"renewed_at,omitzero"`
	ExpiresAt      time.Time `json:"expires_at,omitzero"` // zero: never
	CeilingAt      time.Time `json:"ceiling_at,omitzero"` // no renewal goes beyond; zero: none

	Revocation Revocation `json:"revocation,omitzero"`
}

// Revocation is how far taking away has come (C1).
type Revocation struct {
	Reason          string    `json:"reason,omitempty"`
	By              Actor     `json:"by,omitzero"`
	Since           time.Time `json:"since,omitzero"`             // entered revoking
	DueAt           time.Time `json:"due_at,omitzero"`            // when access had to end: expiry, or Since
	DisabledAt      time.Time `json:"disabled_at,omitzero"`       // stage (a)
	SessionsEndedAt time.Time `json:"sessions_ended_at,omitzero"` // stage (b)
	SessionsNote    string    `json:"sessions_note,omitempty"`    // what (b) did not cover: "primary only" (C3)
	KeepTokens      bool      `json:"keep_tokens,omitempty"`      // of a token: its child tokens stay, as orphans
	Opened          bool      `json:"opened,omitempty"`           // of a wrapping token: what is inside stays
	EndedAt         time.Time `json:"ended_at,omitzero"`          // stage (d)
	Attempts        int       `json:"attempts,omitempty"`
	OwnFault        bool      `json:"own_fault,omitempty"` // the last failure was the lease's own, not its target's
	FirstFailedAt   time.Time `json:"first_failed_at,omitzero"`
	LastFailedAt    time.Time `json:"last_failed_at,omitzero"`
	LastError       string    `json:"last_error,omitempty"` // no secret
	Parked          bool      `json:"parked,omitempty"`     // needs a person (C8)
	NextTryAt       time.Time `json:"next_try_at,omitzero"`
	Asked           int64     `json:"asked,omitempty"` // version made by the last [Retry]; 0: none
}

// Actor is who caused something (A10).
type Actor struct {
	Name        string `json:"name"` // token accessor, or "system:expiry" …
	DisplayName string `json:"display_name,omitempty"`
	Address     string `json:"address,omitempty"`    // remote IP address
	RequestID   string `json:"request_id,omitempty"` // shared by answer, log and event
}

// The system's own actors.
const (
	ActorExpiry   = "system:expiry"
	ActorToken    = "system:token"
	ActorSweep    = "system:sweep"
	ActorMount    = "system:mount"
	ActorRotation = "system:rotation"
)

// System is an actor of the system itself.
func System(name string) Actor { return Actor{Name: name} }

// DueAt is when a revoker has to look at the lease: an unconfirmed intent at
// ConfirmBy, an active one at its expiry, a revocation at its next try. The
// zero time means never.
func (l *Lease) DueAt() time.Time {
	switch l.State {
	case Intent:
		return l.ConfirmBy
	case Active:
		return l.ExpiresAt
	case Revoking:
		return l.Revocation.NextTryAt
	case none, Revoked, Expired, Abandoned:
	}
	return time.Time{}
}

// Confirmed reports whether the lease ever was active: whether a client may
// hold its credential.
func (l *Lease) Confirmed() bool { return !l.ActivatedAt.IsZero() }

// Usable reports whether an active lease still runs at now.
func (l *Lease) Usable(now time.Time) bool {
	return l.State == Active && (l.ExpiresAt.IsZero() || now.Before(l.ExpiresAt))
}

// Remaining is the time from now to the expiry; never negative. It is 0 for a
// lease that never expires.
func (l *Lease) Remaining(now time.Time) time.Duration {
	if l.ExpiresAt.IsZero() {
		return 0
	}
	return max(0, l.ExpiresAt.Sub(now))
}
