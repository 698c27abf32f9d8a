package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// recountKey is the entry of KindSystem that says when the counts of living
// leases were compared with the leases last.
const recountKey = "recount"

// Recount is what is known of the last comparison of the counts that Living
// keeps with the leases. All times are the store's.
type Recount struct {
	AskedAt   time.Time `json:"asked_at,omitzero"`   // by a person
	ClaimedAt time.Time `json:"claimed_at,omitzero"` // a process is at it, or died at it
	At        time.Time `json:"at,omitzero"`         // the end of the last one
	Version   string    `json:"version,omitempty"`   // that all programs had then; empty: more than one
	Mended    int       `json:"mended"`              // paths whose counts it mended
}

// ReadRecount returns it with its entry, which may be one to be made.
func ReadRecount(ctx context.Context, s interface {
	Entry(ctx context.Context, kind Kind, key string) (Entry, error)
},
) (r Recount, e Entry, err error) {
	e, err = s.Entry(ctx, KindSystem, recountKey)
	if errors.Is(err, ErrNotFound) {
		return r, Entry{Kind: KindSystem, Key: recountKey}, nil
	}
	if err == nil {
		err = json.Unmarshal(e.Value, &r)
	}
	if err != nil {
		return r, e, fmt.Errorf("read the last recount: %w", err)
	}
	return r, e, nil
}

// Put is e with r in it.
func (r Recount) Put(e Entry) (Entry, error) {
	var err error
	if e.Value, err = json.Marshal(r); err != nil {
		return e, fmt.Errorf("encode recount: %w", err)
	}
	return e, nil
}
