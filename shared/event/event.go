package event

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/curfew-project/curfew/shared/lease"
)

// Type names what happened.
type Type string

// The types.
const (
	LeaseIntent           Type = "lease.intent"
	LeaseCreated          Type = "lease.created"
	LeaseRenewed          Type = "lease.renewed"
	LeaseRevoking         Type = "lease.revoking"
	LeaseProgress         Type = "lease.progress" // stages passed, or tried again by request
	LeaseRevocationFailed Type = "lease.revocation_failed"
	LeaseRevoked          Type = "lease.revoked"
	LeaseExpired          Type = "lease.expired"
	LeaseAbandoned        Type = "lease.abandoned"
	LeaseRolledBack       Type = "lease.rolled_back"
	LeaseRestored         Type = "lease.restored" // brought in from the record (A7)

	TokenCreated   Type = "token.created"
	TokenRenewed   Type = "token.renewed"
	TokenUsed      Type = "token.used"      // one of limited uses; the last is token.revoking
	TokenRewrapped Type = "token.rewrapped" // what it holds is under another text (A9)
	TokenRevoking  Type = "token.revoking"
	TokenRevoked   Type = "token.revoked"

	AccountStray          Type = "account.stray"
	AccountRotated        Type = "account.rotated"         // a static role's new password is in force
	AccountRotationFailed Type = "account.rotation_failed" // tried again; the password that was served still is

	GroupMade      Type = "group.made"      // a role that holds what accounts share (shared_grants)
	GroupRefreshed Type = "group.refreshed" // it was granted everything again
	GroupDropped   Type = "group.dropped"   // no lease needs it; Reason says so where it stays in the target
	GroupFailed    Type = "group.failed"    // what was due is tried again

	RequestServed Type = "request.served"
	RequestDenied Type = "request.denied"

	ConfigChanged Type = "config.changed"
	SystemStarted Type = "system.started"

	StoreSuspended        Type = "store.suspended"        // it lacks what was committed (A7)
	StoreResumed          Type = "store.resumed"          // Reason says what was restored and what is lost
	InstallationDoubted   Type = "installation.doubted"   // stray sweeps only report (B3)
	InstallationConfirmed Type = "installation.confirmed" // by a person
)

// Position is a place in the numbered events: dense within an epoch (D3, A7).
type Position struct {
	Epoch  int64 `json:"epoch"`
	Number int64 `json:"number"` // from 1; 0 is before the first
}

// Before orders positions.
func (p Position) Before(q Position) bool {
	return p.Epoch < q.Epoch || p.Epoch == q.Epoch && p.Number < q.Number
}

// String is the event's id: "<epoch>-<number>".
func (p Position) String() string { return fmt.Sprintf("%d-%d", p.Epoch, p.Number) }

// ParsePosition is the inverse of [Position.String].
func ParsePosition(s string) (Position, error) {
	e, n, ok := strings.Cut(s, "-")
	epoch, err1 := strconv.ParseInt(e, 10, 64)
	number, err2 := strconv.ParseInt(n, 10, 64)
	p := Position{Epoch: epoch, Number: number}
	// One spelling only: the id is what the broker tells duplicates by.
	if !ok || err1 != nil || err2 != nil || epoch < 0 || number < 0 || p.String() != s {
		return Position{}, fmt.Errorf("parse event id %q: want <epoch>-<number>", s)
	}
	return p, nil
}

// Event is one line of the record. Position is zero until the publisher has
// numbered it.
type Event struct {
	Position Position  `json:"position"`
	Type     Type      `json:"type"`
	Time     time.Time `json:"time"`    // the store's clock at the commit
	Subject  string    `json:"subject"` // lease id, token accessor's lease id, or request path
	Data     Data      `json:"data"`
}

// Data is everything an event may say. None of it is secret.
type Data struct {
	// Of a lease's transition.
	LeaseID  lease.ID     `json:"lease_id,omitempty"`
	Version  int64        `json:"version,omitempty"`
	Kind     lease.Kind   `json:"kind,omitempty"`
	State    lease.State  `json:"state,omitempty"`
	Mount    string       `json:"mount,omitempty"`
	Role     string       `json:"role,omitempty"`
	Target   string       `json:"target,omitempty"`
	Account  string       `json:"account,omitempty"`
	TokenID  lease.ID     `json:"token_id,omitempty"`
	Inside   lease.ID     `json:"inside,omitempty"` // of a wrapping token: the lease in it (A9)
	Opened   bool         `json:"opened,omitempty"` // of a wrapping token: what is inside stays
	IssuedBy *lease.Actor `json:"issued_by,omitempty"`

	// Who and why (A10).
	Actor  lease.Actor `json:"actor"`
	Reason string      `json:"reason,omitempty"`

	// Times of a lease.
	IssuedAt        *time.Time `json:"issued_at,omitempty"`
	TTLSeconds      int64      `json:"ttl_seconds,omitempty"` // granted, rounded up; of an intent only: it has no expiry yet
	ExpiresAt       *time.Time `json:"expires_at,omitempty"`
	DueAt           *time.Time `json:"due_at,omitempty"`
	DisabledAt      *time.Time `json:"disabled_at,omitempty"`
	SessionsEndedAt *time.Time `json:"sessions_ended_at,omitempty"`
	SessionsNote    string     `json:"sessions_note,omitempty"`
	EndedAt         *time.Time `json:"ended_at,omitempty"`
	NextTryAt       *time.Time `json:"next_try_at,omitempty"`
	Attempts        int        `json:"attempts,omitempty"`
	Error           string     `json:"error,omitempty"`
	Parked          bool       `json:"parked,omitempty"`

	// Of a request to the API (D6), or of a change of configuration. TokenID is
	// then the lease of the token that asked.
	Operation string   `json:"operation,omitempty"` // read, write, list, delete
	Path      string   `json:"path,omitempty"`
	Status    int      `json:"status,omitempty"` // HTTP
	Count     int      `json:"count,omitempty"`  // requests that one event stands for
	Fields    []string `json:"fields,omitempty"` // names of the fields that were sent, never values
	MountType string   `json:"mount_type,omitempty"`
	Policies  []string `json:"policies,omitempty"` // of the token that asked
	// Granted is the lease of what the answer hands out, and Account its account.
	// (LeaseID is for transitions: consumers take it for one.)
	Granted lease.ID `json:"granted,omitempty"`
}

// Same reports whether e and o are one event, as told by whichever releases: one
// may know fields of it that the other does not.
func (e *Event) Same(o *Event) bool {
	return e.Position == o.Position && e.Type == o.Type && e.Time.Equal(o.Time) && e.Subject == o.Subject &&
		e.Data.LeaseID == o.Data.LeaseID && e.Data.Version == o.Data.Version
}

// Of is the event of one transition: before became after by c at the store's
// time at.
func Of(before, after *lease.Lease, c *lease.Change, at time.Time) Event {
	r := &after.Revocation
	d := Data{
		LeaseID: after.ID, Version: after.Version, Kind: after.Kind, State: after.State,
		Mount: after.Mount, Role: after.Role, Target: after.Target, Account: after.Account, TokenID: after.TokenID,
		Inside: after.Inside, Opened: r.Opened,
		Actor: c.By, Reason: c.Reason,
		IssuedAt: moment(after.IssuedAt), ExpiresAt: moment(after.ExpiresAt),
	}
	if after.State == lease.Intent {
		d.TTLSeconds = seconds(after.TTL)
	}
	if after.IssuedBy != c.By {
		d.IssuedBy = &after.IssuedBy
	}
	if !after.State.Live() {
		d.DueAt, d.DisabledAt, d.SessionsEndedAt = moment(r.DueAt), moment(r.DisabledAt), moment(r.SessionsEndedAt)
		d.SessionsNote, d.EndedAt, d.NextTryAt = r.SessionsNote, moment(r.EndedAt), moment(r.NextTryAt)
		d.Attempts, d.Parked = r.Attempts, r.Parked
		if d.Reason == "" {
			d.Reason = r.Reason
		}
	}
	t := typeOf(before, after, c)
	if t == LeaseRevocationFailed {
		d.Error = r.LastError
	}
	return Event{Type: t, Time: at, Subject: string(after.ID), Data: d}
}

// seconds rounds up, so that nothing ends early by it.
func seconds(d time.Duration) int64 {
	whole := int64(d / time.Second)
	if d%time.Second > 0 {
		whole++
	}
	return whole
}

func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

func typeOf(before, after *lease.Lease, c *lease.Change) Type {
	token := after.Kind == lease.Token
	if _, restored := c.Do.(lease.Restore); restored {
		return LeaseRestored
	}
	switch after.State {
	case lease.Intent:
		return LeaseIntent
	case lease.Active:
		_, renew := c.Do.(lease.Renew)
		_, use := c.Do.(lease.Use)
		_, rewrap := c.Do.(lease.Rewrap)
		switch {
		case rewrap:
			return TokenRewrapped
		case use:
			return TokenUsed
		case token && renew:
			return TokenRenewed
		case token:
			return TokenCreated
		case renew:
			return LeaseRenewed
		}
		return LeaseCreated
	case lease.Revoking:
		if p, ok := c.Do.(lease.Progress); ok && p.Failed {
			return LeaseRevocationFailed
		}
		switch {
		case before.State == lease.Revoking:
			return LeaseProgress
		case after.Kind == lease.Stray:
			return AccountStray
		case token:
			return TokenRevoking
		}
		return LeaseRevoking
	case lease.Revoked:
		switch {
		case token:
			return TokenRevoked
		case after.Kind == lease.Secret && !after.Confirmed():
			return LeaseRolledBack
		}
		return LeaseRevoked
	case lease.Expired:
		return LeaseExpired
	case lease.Abandoned:
	}
	return LeaseAbandoned
}
