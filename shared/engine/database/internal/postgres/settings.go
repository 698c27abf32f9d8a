package postgres

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/secret"
)

// Settings describe one connection: a server and the admin user on it. None of
// them is a secret; the password comes from [Credentials].
type Settings struct {
	// URL is the connection URL or keyword string, with {{username}} and
	// {{password}} where these belong. It may name several hosts.
	URL string
	// Username is the admin user, also where the URL spells it out.
	Username string
	TLS      TLS
	// Program is who connects: application_name becomes curfew/<program>.
	Program string
	// Replicas are the URLs of standbys on which sessions are ended too (C3),
	// with the same variables as URL.
	Replicas []string
	// MaxOpen is how many writers create and drop side by side: the connections
	// of the work lane. 1, and 64 at most, where more are allowed. More than one
	// pays only where hashing dominates. Disable, observe and solo have one
	// connection each beside them, since no work may keep a revocation waiting
	// (B7), and so has each replica.
	MaxOpen int
	// MaxIdle is how many of the writers' connections stay open while nobody
	// needs them; 0: all, negative: none.
	MaxIdle int
	// MaxLifetime is the age at which a writer's connection is closed, at the
	// end of what it does; 0: never. Those that take access away are exempt: they
	// would be dialled anew when it matters.
	MaxLifetime time.Duration
	// Identity is the recorded system. With it set, nothing is done and no
	// absence counts on any other (C6). Timeline is not compared: the caller
	// sweeps when [Target.Identify] returns a new one.
	Identity Identity
	// OwnedObjects and ReassignTo apply to leases whose plan has none of its
	// own: strays, for one.
	OwnedObjects OwnedObjects
	ReassignTo   string
	// Limits bound time and queues; zero fields are defaults.
	Limits Limits
}

// TLS holds PEM blocks. Which checks are made is decided by sslmode in the URL,
// as in libpq: verify-full checks chain and host, verify-ca (and require, where
// CA is set) the chain. Without sslmode a CA means verify-full.
type TLS struct {
	CA          string // trusted instead of the system's roots
	Certificate string // of the client, with intermediates
	Key         secret.Value
}

// Identity says which system answers, and on which branch of its history.
type Identity struct {
	SystemID string `json:"system_id,omitempty"`
	Timeline int64  `json:"timeline,omitempty"`
}

// Limits bound one target; zero fields mean the default in parentheses.
type Limits struct {
	Connect time.Duration // dial and log in (10 s)
	Turn    time.Duration // a batch in the shared lane, at most Call; longer goes to the solo lane (5 s)
	Call    time.Duration // one stage of a call, and a lease in the solo lane ([DefaultCall])
	Lock    time.Duration // lock_timeout inside a batch ([DefaultLock])
	Hidden  time.Duration // how long a session that is starting is waited for (2 s; C2)
	Margin  time.Duration // VALID UNTIL beyond the lease (5 s; B8)
	Waiting int           // leases that wait in one lane (16,384)
}

// Credentials are the admin's passwords as the store has them now (B11).
type Credentials interface {
	// Passwords returns the current password, and the pending one of a
	// rotation under way, which is empty otherwise.
	Passwords(ctx context.Context) (current, pending secret.Value, err error)
	// Promote makes the pending password the current one: the target took it.
	// It does nothing if that has happened already.
	Promote(ctx context.Context, pending secret.Value) error
}

// Notes receives what a person should know about a revocation that succeeded
// nevertheless: statements of the role that failed before the safe default
// took the account away. Text holds no secret. It must not block.
type Notes interface {
	Note(id lease.ID, text string)
}

// NopNotes drops notes.
type NopNotes struct{}

// Note implements [Notes].
func (NopNotes) Note(lease.ID, string) {}

var _ Notes = NopNotes{}

// maxWriters bounds the writers: a server's connections are not ours alone.
const maxWriters = 64

func (s Settings) complete() (Settings, error) {
	s.Program = cmp.Or(s.Program, "curfew")
	if s.MaxOpen <= 0 { // stock clients write a negative one for no bound
		s.MaxOpen = 1
	}
	s.MaxOpen = min(s.MaxOpen, maxWriters)
	if s.MaxIdle == 0 || s.MaxIdle > s.MaxOpen {
		s.MaxIdle = s.MaxOpen
	}
	s.OwnedObjects = cmp.Or(s.OwnedObjects, Reassign)
	s.Limits = s.Limits.complete()
	switch {
	case s.URL == "":
		return s, errors.New("connection_url is missing")
	case s.OwnedObjects.check() != nil:
		return s, s.OwnedObjects.check()
	}
	return s, nil
}

// The defaults that a connection can change.
const (
	DefaultCall = time.Minute
	DefaultLock = 2 * time.Second
)

func (l Limits) complete() Limits {
	l.Connect = cmp.Or(l.Connect, 10*time.Second)
	l.Call = cmp.Or(l.Call, DefaultCall)
	l.Turn = min(cmp.Or(l.Turn, 5*time.Second), l.Call)
	l.Lock = cmp.Or(l.Lock, DefaultLock)
	l.Hidden = cmp.Or(l.Hidden, 2*time.Second)
	l.Margin = cmp.Or(l.Margin, 5*time.Second)
	l.Waiting = cmp.Or(l.Waiting, 16384)
	return l
}
