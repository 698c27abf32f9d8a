package installation

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

const (
	strayPrefix    = "strays/"
	restoredPrefix = "restored/"
)

// Named bounds the accounts and losses that a report names; it counts all.
const Named = 1000

// Strays are the accounts without a lease that a sweep found in a target and
// left alone, because it only reports.
type Strays struct {
	Engine   string   `json:"engine,omitempty"` // type of the target's engine
	Count    int      `json:"count"`
	Accounts []string `json:"accounts"` // the first Named, by name
}

// ReportStrays replaces the report of a target; none takes it away.
func ReportStrays(ctx context.Context, s store.Entries, target string, found Strays) error {
	err := store.Change(ctx, s, func() (store.Write, error) {
		var before Strays
		e, there, err := read(ctx, s, strayPrefix+target, &before)
		switch {
		case err != nil || found.Count == 0 && !there, there && before.equal(&found):
			return store.Write{}, err
		case found.Count == 0:
			return store.Write{Deletes: []store.Ref{{Kind: e.Kind, ID: e.ID}}}, nil
		}
		put, err := encoded(e, found)
		if err != nil {
			return store.Write{}, err
		}
		return store.Write{Puts: []store.Entry{put}}, nil
	})
	if err != nil {
		return fmt.Errorf("report stray accounts: %w", err)
	}
	return nil
}

// equal compares what was decoded: a store may write JSON in another way.
func (r *Strays) equal(other *Strays) bool {
	return r.Engine == other.Engine && r.Count == other.Count && slices.Equal(r.Accounts, other.Accounts)
}

// ReportedStrays returns the reports by target.
func ReportedStrays(ctx context.Context, s store.Entries) (map[string]Strays, error) {
	found, _, err := all[Strays](ctx, s, strayPrefix)
	return found, err
}

// Restored is what became of one recovery of the store (A7).
type Restored struct {
	Epoch  int64     `json:"epoch"` // that began with it; 0: nothing was lost
	Reason string    `json:"reason"`
	At     time.Time `json:"at"` // the store's clock
	// From is the last event that store and record have in common, To the last
	// one that the record has.
	From string `json:"from"`
	To   string `json:"to"`
	// Unheard is from where on the stream was not read to its end; zero: it was. The
	// next recovery begins there.
	Unheard event.Position `json:"unheard,omitzero"`
	// Leases that were brought in: made anew or active again, prolonged, or put
	// into revoking.
	Returned  int `json:"returned"`
	Prolonged int `json:"prolonged"`
	Revoked   int `json:"revoked"`
	// Lost is what the record knows of and the store can not get back.
	Lost      []Loss `json:"lost"` // the first Named
	LostCount int    `json:"lost_count"`
}

// Loss is one thing that the store had and has no more.
type Loss struct {
	What    string      `json:"what"` // "token", "configuration", "lease"
	ID      string      `json:"id"`   // token accessor, path, lease id
	Detail  string      `json:"detail,omitempty"`
	Account string      `json:"account,omitempty"` // of a lease: what to look for in the target
	Target  string      `json:"target,omitempty"`
	By      lease.Actor `json:"by"`
	At      time.Time   `json:"at"`
}

// Reporting is the put that keeps a recovery's report.
func Reporting(r Restored) (store.Entry, error) {
	e := store.Entry{Kind: store.KindSystem, Key: restoredPrefix + r.At.UTC().Format("20060102T150405.000000000Z")}
	return encoded(e, r)
}

// Recoveries returns the reports of all recoveries, the earliest first.
func Recoveries(ctx context.Context, s store.Entries) ([]Restored, error) {
	found, _, err := all[Restored](ctx, s, restoredPrefix)
	if err != nil {
		return nil, err
	}
	out := make([]Restored, 0, len(found))
	for _, key := range slices.Sorted(maps.Keys(found)) {
		out = append(out, found[key])
	}
	return out, nil
}
