package engine

import (
	"context"
	"time"
)

// Rotator is the optional ability to give accounts that people made new
// passwords on a schedule. What [GroupKeeper] returns does another work by the
// same contract.
type Rotator interface {
	// Rotations lists the rotations that fall due up to a time of the store's
	// clock, and those that broke off and have to be ended.
	Rotations(ctx context.Context, until time.Time) ([]Rotation, error)
	// Rotate rotates if that is still due: of several callers one does, which
	// the store decides. Before the target hears of anything it asks allowed;
	// whose error ends it, as one of the target does. done is false where
	// somebody else was faster. A failure is on record when Rotate returns.
	Rotate(ctx context.Context, r Rotation, allowed func(context.Context) error) (done bool, err error)
}

// Rotation is one account whose password is due.
type Rotation struct {
	ID string // of the role
	// Target is the connection: one that is away keeps no other waiting.
	Target   string
	Mount    string
	Role     string
	Due      time.Time // by the store's clock
	Attempts int       // that have failed since the last success
}
