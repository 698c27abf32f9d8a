package enginetest

import (
	"context"
	"testing"
	"time"

	"github.com/curfew-project/curfew/shared/engine"
)

// Harness is one engine with one mount, one connection and its target, made
// for one law.
type Harness struct {
	Engine  engine.Engine
	MountID string
	Mount   string // path, with trailing slash

	// Path issues a credential that works. The target refuses every creation
	// of BadPath for a reason that a person has to mend.
	Path    string
	BadPath string

	// Target looks at the target past the engine.
	Target Target
}

// Target is what the suite sees and does in the target itself.
type Target interface {
	// Now is the target's clock.
	Now(ctx context.Context) (time.Time, error)
	// Login tries a credential; nil means that the target let it in.
	Login(ctx context.Context, name, password string) error
	// Session logs in and stays.
	Session(ctx context.Context, name, password string) (Session, error)
	// Exists reports whether the target knows an account of that name.
	Exists(ctx context.Context, name string) (bool, error)
	// Expiry is when the target itself closes the account (B8); zero: never.
	Expiry(ctx context.Context, name string) (time.Time, error)
	// Foreign makes an account that no engine made, and returns its name.
	Foreign(ctx context.Context) (string, error)
	// LoseAnswer makes the next creation take effect without its answer
	// coming back.
	LoseAnswer()
}

// Marked is what the [Target] of an [engine.Marker] has to be, too.
type Marked interface {
	// Mark is the mark that the target keeps for the connection; "" for none.
	Mark(ctx context.Context) (string, error)
}

// Session is an open session of an account.
type Session interface {
	// Alive reports whether the session still answers.
	Alive(ctx context.Context) bool
	Close()
}

// Law is one sentence of the contract and its check.
type Law struct {
	Name  string
	Says  string
	Check func(tb testing.TB, h Harness)
}

// Run checks every law, each against a harness of its own.
func Run(t *testing.T, open func(tb testing.TB) Harness) {
	t.Helper()
	for _, law := range Laws() {
		t.Run(law.Name, func(t *testing.T) {
			t.Parallel()
			t.Log(law.Says)
			law.Check(t, open(t))
		})
	}
}

// Laws lists the suite.
func Laws() []Law {
	return []Law{
		{"PlanChangesNothing", "a plan resolves a request and touches no target; other paths have none", planChangesNothing},
		{"CreateWorks", "what create reports as made logs in, under the planned name, with an expiry behind the lease's (B8)", createWorks},
		{"CreateAfterDeadline", "a creation has no effect from the deadline on, by the target's clock (B1)", createAfterDeadline},
		{"BatchIsolation", "one lease at fault fails alone, and every outcome is at its lease's place", batchIsolation},
		{"RenewMovesExpiry", "renewing moves the target's expiry both ways and leaves the password as it was (B9)", renewMovesExpiry},
		{"RenewGivesWay", "a renewal makes an expiry earlier only where it is the one that its caller left (B9)", renewGivesWay},
		{"DisableEndsAccess", "disable closes the login and ends live sessions; again is success (C1, C2)", disableEndsAccess},
		{"RemoveProvesAbsence", "gone is reported when the account is gone, also without a disable before; again is success (C7)", removeProvesAbsence},
		{"RemoveBatch", "a removal that has to wait does not hold up its neighbours", removeBatch},
		{"NeverCreated", "an intent without an account is gone after its deadline and has to wait before it (B1)", neverCreated},
		{"LostAnswer", "a creation whose answer was lost is found and removed", lostAnswer},
		{"TwoWorkers", "any number of workers on one lease do no harm and all succeed in the end (C7)", twoWorkers},
		{"RaceOfStages", "disable beside remove is success for both (C7)", raceOfStages},
		{"UnknownTarget", "a target that is not known is an error for each lease and never absence (C6)", unknownTarget},
		{"StraysAreFound", "the sweeper lists our accounts and no others, in order and in pages; the stray plan removes them (B3)", straysAreFound},
		{"GhostsOfNone", "ending ghost sessions where there are none ends none (C2)", ghostsOfNone},
		{"MarkIsKept", "a target's mark is none at first, then what was set last, whatever else happens there (B3)", markIsKept},
		{"MarkIsCompared", "a mark is replaced only by who knows what it was (B3)", markIsCompared},
		{"MarkRace", "of any number that replace the same mark at once, one succeeds and all others know that they did not (B3)", markRace},
		{"MarkText", "a mark is kept to the byte, and what is not printable ASCII of the right length is refused", markText},
	}
}
