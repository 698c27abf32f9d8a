package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
)

// Kind says what an entry is.
type Kind string

// The kinds. A value is JSON; secrets in it are sealed before they get here.
const (
	KindMount      Kind = "mount"       // key: path with trailing slash
	KindConnection Kind = "connection"  // key: mount id + "/" + name
	KindRole       Kind = "role"        // key: mount id + "/" + name
	KindStaticRole Kind = "static_role" // key: mount id + "/" + name
	// KindStaticAccount keeps two static roles from one account.
	KindStaticAccount Kind = "static_account" // key: system id + "/" + account; ID: the static role's

	KindBarrier Kind = "barrier" // key: operation id; made by Raise only
	// KindDisabling is how far the disabling of a mount has come: a Barrier with
	// a MountID, which withdraws nothing by itself. Key: operation id.
	KindDisabling Kind = "disabling"
	KindPolicy    Kind = "policy"   // key: name
	KindPassword  Kind = "password" // key: name of a password policy
	KindSystem    Kind = "system"   // installation, naming keys, …: key is the name
	// KindGroupRole is a role in a target that holds what accounts share. It is
	// withdrawn once no lease needs it, and deleted when it is gone.
	KindGroupRole Kind = "group_role" // key: connection's ID + "/" + role's ID + "/" + what it is granted

	KindAudit Kind = "audit" // key: path of an audit device, with trailing slash; see package device

	KindLeaseQuota Kind = "lease_quota" // key: see QuotaKey; ID: name
	KindRateQuota  Kind = "rate_quota"  // key: "/" + path; ID: name

	KindAuth      Kind = "auth"            // key: path of an auth mount below auth/, with trailing slash
	KindAppRole   Kind = "approle"         // key: auth mount id + "/" + name
	KindAppRoleID Kind = "approle_role_id" // key: auth mount id + "/" + hash of the role id; ID: the role's
	KindSecretID  Kind = "secret_id"       // key: auth mount id + "/" + role's ID + "/" + accessor; ID: keyed hash
	KindLockout   Kind = "lockout"         // key and ID: auth mount id + "/" + hash of the alias
)

// Entry is one piece of configuration.
type Entry struct {
	Kind Kind
	Key  string
	// ID names the incarnation: it survives edits and changes when the entry
	// is deleted and made anew. The store makes one for a new entry that has
	// none; a caller that must know it before (to seal a value to it) takes
	// [NewIncarnation].
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
	// A page holds all withdrawn incarnations of its last key, beyond limit if
	// need be. limit 0: 1000.
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
	Operation string `json:"operation"` // unique id
	Prefix    string `json:"prefix"`    // of lease ids; ends in a slash
	// MountID is set in an entry of KindDisabling: its leases are those of this
	// incarnation, whenever they began.
	MountID  string      `json:"mount_id,omitempty"`
	Position int64       `json:"position"` // leases with a lower one are taken
	By       lease.Actor `json:"by"`
	Reason   string      `json:"reason"`
	RaisedAt time.Time   `json:"raised_at"`
	// Force: what does not end in a while is abandoned.
	Force bool `json:"force,omitempty"`
	// Listed: all its leases have been put into revoking.
	Listed bool `json:"listed"`
	// Total is how many leases it found that had not ended, once it is listed;
	// Abandoned are those of them that were given up.
	Total     int64 `json:"total,omitempty"`
	Abandoned int64 `json:"abandoned,omitempty"`
	// FinishedAt is when a sweep saw that all of them have ended.
	FinishedAt time.Time `json:"finished_at,omitzero"`
}

// Takes selects the leases of the operation, those too that have ended.
func (b Barrier) Takes() Query {
	if b.MountID != "" {
		return Query{Prefix: b.Prefix, MountID: b.MountID}
	}
	return Query{Prefix: b.Prefix, Before: b.Position}
}

// Check refuses a barrier that cannot be raised.
func (b Barrier) Check() error {
	if b.Operation == "" || !strings.HasSuffix(b.Prefix, "/") {
		return fmt.Errorf("operation %q, prefix %q: want an id, and a prefix that ends in a slash", b.Operation, b.Prefix)
	}
	return nil
}

// Encode is the value of the barrier's entry.
func (b Barrier) Encode() ([]byte, error) {
	value, err := json.Marshal(b)
	if err != nil {
		return nil, fmt.Errorf("encode barrier: %w", err)
	}
	return value, nil
}

// DecodeBarrier is the inverse of [Barrier.Encode].
func DecodeBarrier(value []byte) (b Barrier, err error) {
	if err := json.Unmarshal(value, &b); err != nil {
		return b, fmt.Errorf("decode barrier: %w", err)
	}
	return b, nil
}

// NewIncarnation makes the ID of a new entry: 20 base62 characters, 119 bits.
func NewIncarnation() string { return lease.RandomBase62(20) }

// Write is one commit of configuration: deletes, then withdrawals, then puts,
// so that a key can be withdrawn and taken again at once.
type Write struct {
	// Puts: Revision 0 makes a new entry (ErrExists if the key has one, or the
	// ID is taken), else it must equal the stored one (ErrRevision; also if
	// there is none). An edit changes the value of the incarnation ID, withdrawn
	// or not; of the one that has the key where ID is empty.
	Puts []Entry
	// Withdrawals hide and mark, which counts as an edit; unknown or withdrawn
	// ones are ErrNotFound.
	Withdrawals []Ref
	// Deletes remove for good; unknown ones are ignored.
	Deletes []Ref
	// Mends correct the counts that Living keeps by what Miscounts found. They go
	// with the edit of an entry that was read before, whose revision keeps two
	// recounts from mending the same.
	Mends  []Miscount
	Events []event.Event
}

// changeTries bounds how often a change that met another is made anew.
const changeTries = 10

// Change commits what making returns, made anew where it met another change of
// the same entries (ErrRevision, ErrExists). An empty Write is not committed.
func Change(ctx context.Context, s Entries, making func() (Write, error)) error {
	for try := 1; ; try++ {
		w, err := making()
		if err != nil || len(w.Puts)+len(w.Withdrawals)+len(w.Deletes)+len(w.Mends)+len(w.Events) == 0 {
			return err
		}
		_, err = s.Write(ctx, w)
		met := errors.Is(err, ErrRevision) || errors.Is(err, ErrExists)
		if !met || try == changeTries {
			return err
		}
	}
}
