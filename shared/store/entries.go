package store

import (
	"context"
	"time"

	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
)

// Kind says what an entry is.
type Kind string

// The kinds. A value is JSON; secrets in it are sealed before they get here.
const (
	KindMount      Kind = "mount"      // key: path with trailing slash
	KindConnection Kind = "connection" // key: mount id + "/" + name
	KindRole       Kind = "role"       // key: mount id + "/" + name
	KindBarrier    Kind = "barrier"    // key: operation id; made by Raise only
	KindSystem     Kind = "system"     // installation, naming keys, …: key is the name
)

// Entry is one piece of configuration.
type Entry struct {
	Kind Kind
	Key  string
	// ID names the incarnation: it survives edits and changes when the entry
	// is deleted and made anew. Set by the store.
	ID       string
	Revision int64 // counts edits from 1
	Value    []byte
	// Withdrawn entries are hidden from Entry and List by key; they are kept
	// until nothing needs them (A2).
	Withdrawn bool
	ChangedAt time.Time
}

// Entries is the configuration.
type Entries interface {
	// Entry returns the entry that is not withdrawn, or ErrNotFound.
	Entry(ctx context.Context, kind Kind, key string) (Entry, error)
	// EntryByID returns an incarnation, withdrawn or not, or ErrNotFound.
	EntryByID(ctx context.Context, kind Kind, id string) (Entry, error)
	// List returns entries whose key begins with prefix, ordered by key, after
	// the key after; withdrawn ones only where asked for, and then only those.
	List(ctx context.Context, kind Kind, prefix, after string, withdrawn bool, limit int) ([]Entry, error)
	// Write makes all of w one commit or nothing of it. It returns the entries
	// put, as stored.
	Write(ctx context.Context, w Write) ([]Entry, error)
	// Raise commits a barrier: it withdraws every lease under its prefix whose
	// beginning was committed before (A4). It sets Position and RaisedAt. The
	// barrier is kept as an entry of KindBarrier with b.Operation as its key
	// and the barrier's JSON as its value; Write edits and deletes it.
	Raise(ctx context.Context, b Barrier, events ...event.Event) (Barrier, error)
}

// Barrier withdraws what was begun under a prefix before it (A4).
type Barrier struct {
	Operation string      `json:"operation"` // unique id
	Prefix    string      `json:"prefix"`    // of lease ids; ends in a slash
	Position  int64       `json:"position"`  // leases with a lower one are taken
	By        lease.Actor `json:"by"`
	Reason    string      `json:"reason"`
	RaisedAt  time.Time   `json:"raised_at"`
	// Listed: all its leases have been put into revoking.
	Listed bool `json:"listed"`
}

// Write is one commit of configuration.
type Write struct {
	// Puts: Revision 0 makes a new entry (ErrExists if the key has one), else
	// it must equal the stored one (ErrRevision).
	Puts []Entry
	// Withdrawals hide and mark; unknown or withdrawn ones are ErrNotFound.
	Withdrawals []Ref
	// Deletes remove for good; unknown ones are ignored.
	Deletes []Ref
	Events  []event.Event
}
