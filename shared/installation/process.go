package installation

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/curfew-project/curfew/shared/store"
)

const processPrefix = "process/"

// Forgotten is how long a process that says nothing is remembered.
const Forgotten = time.Hour

// Process is what a running program says of itself now and then. It is for
// people: nothing is decided by it but when to look at something again.
type Process struct {
	Name    string    `json:"name"` // unique in the installation
	Program string    `json:"program"`
	Version string    `json:"version"`
	Started time.Time `json:"started"` // its own clock
	Seen    time.Time `json:"seen"`    // the store's clock
	// Skew is the process's clock minus the store's, no more exact than the
	// round trip to the store.
	Skew time.Duration `json:"skew_ns"`
	// Revoker is what a process says that revokes; nil: it does not.
	Revoker *Revoking `json:"revoker,omitempty"`
}

// Revoking is what a revoker says of the index that it works from.
type Revoking struct {
	Known   bool `json:"index_known"` // it has answered when it was compared last
	Missing int  `json:"index_missing"`
	Members int  `json:"index_members"`
	// StrayEvery is how often it looks for accounts without a lease.
	StrayEvery time.Duration `json:"stray_every_ns"`
}

// Beat commits what a process says of itself, and forgets those that have said
// nothing for [Forgotten].
func Beat(ctx context.Context, s store.Entries, p Process) error {
	err := store.Change(ctx, s, func() (store.Write, error) {
		var w store.Write
		known, entries, err := all[Process](ctx, s, processPrefix)
		if err != nil {
			return w, err
		}
		e, found := entries[p.Name]
		if !found {
			e = store.Entry{Kind: store.KindSystem, Key: processPrefix + p.Name}
		}
		put, err := encoded(e, p)
		if err != nil {
			return w, err
		}
		w.Puts = []store.Entry{put}
		for name, other := range known {
			if name != p.Name && p.Seen.Sub(other.Seen) > Forgotten {
				w.Deletes = append(w.Deletes, store.Ref{Kind: store.KindSystem, ID: entries[name].ID})
			}
		}
		return w, nil
	})
	if err != nil {
		return fmt.Errorf("say that the process runs: %w", err)
	}
	return nil
}

// Gone forgets a process that stops in order.
func Gone(ctx context.Context, s store.Entries, name string) error {
	e, err := s.Entry(ctx, store.KindSystem, processPrefix+name)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err == nil {
		_, err = s.Write(ctx, store.Write{Deletes: []store.Ref{{Kind: e.Kind, ID: e.ID}}})
	}
	if err != nil {
		return fmt.Errorf("say that the process stops: %w", err)
	}
	return nil
}

// Processes returns what the processes said last, by name.
func Processes(ctx context.Context, s store.Entries) ([]Process, error) {
	known, _, err := all[Process](ctx, s, processPrefix)
	if err != nil {
		return nil, err
	}
	out := make([]Process, 0, len(known))
	for _, p := range known {
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b Process) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}
