package issuing

import (
	"errors"
	"time"

	"github.com/curfew-project/curfew/shared/store"
)

// Observer is told what operators want to see of issuing. Its methods are called
// by many goroutines and must not block.
type Observer interface {
	// Issued is told of each credential that was made, below which mount, and how
	// long that took.
	Issued(mount string, took time.Duration)
	// Refused is told of each request for a credential that got none, and why: one
	// of the Reasons.
	Refused(reason string)
}

// Reasons for which a request gets no credential.
const (
	ReasonBacklog   = "backlog"   // too many events wait for the ledger (D4)
	ReasonLag       = "lag"       // revocation on the target is behind
	ReasonQuota     = "quota"     // a lease count
	ReasonWithdrawn = "withdrawn" // token, mount, role or connection, meanwhile
	ReasonSuspended = "suspended" // the store lacks commits (A7)
	ReasonStore     = "store"     // a commit failed
	ReasonTarget    = "target"    // the account was not made
	ReasonToken     = "token"     // it has no use left
)

// Reasons lists them.
func Reasons() []string {
	return []string{
		ReasonBacklog, ReasonLag, ReasonQuota, ReasonWithdrawn, ReasonSuspended, ReasonStore, ReasonTarget, ReasonToken,
	}
}

// Nop is an [Observer] that ignores everything.
type Nop struct{}

// Issued implements [Observer].
func (Nop) Issued(string, time.Duration) {}

// Refused implements [Observer].
func (Nop) Refused(string) {}

// refused tells the observer why, and returns err.
func (d *Desk) refused(reason string, err error) error {
	d.cfg.Observer.Refused(reason)
	return err
}

// uncommitted is the reason where a commit was refused.
func uncommitted(err error) string {
	switch {
	case errors.Is(err, store.ErrQuota):
		return ReasonQuota
	case errors.Is(err, store.ErrWithdrawn):
		return ReasonWithdrawn
	case errors.Is(err, store.ErrSuspended):
		return ReasonSuspended
	}
	return ReasonStore
}
