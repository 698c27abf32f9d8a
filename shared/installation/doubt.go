package installation

import (
	"context"
	"fmt"
	"slices"

	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

// Path is the subject of this package's events, and where the API shows it all.
const Path = "sys/installation"

// doubtKey is the entry that says why sweeps only report. Once made it is never
// deleted: it counts the confirmations, and an edit is compared by its revision.
const doubtKey = "doubt"

// Doubt says why the store may not know every account of the installation.
type Doubt struct {
	Reasons []string `json:"reasons"`
	// Confirmed counts how often a person has confirmed: what was contested
	// before the last time is to be taken over. See [Ownership].
	Confirmed int64 `json:"confirmed,omitempty"`
}

// Current returns the reasons for doubt that stand, none where sweeps may act.
func Current(ctx context.Context, s store.Entries) ([]string, error) {
	var d Doubt
	_, _, err := read(ctx, s, doubtKey, &d)
	return d.Reasons, err
}

// Raise adds a reason for doubt; one that stands already is not added again.
func Raise(ctx context.Context, s store.Entries, reason string) error {
	err := store.Change(ctx, s, func() (store.Write, error) { return Raising(ctx, s, reason) })
	if err != nil {
		return fmt.Errorf("raise doubt: %w", err)
	}
	return nil
}

// Raising is the commit of [Raise], for who has more to commit with it. It is
// empty where the reason stands already. ErrRevision or ErrExists from the
// commit: make it anew.
func Raising(ctx context.Context, s store.Entries, reason string) (store.Write, error) {
	var d Doubt
	e, _, err := read(ctx, s, doubtKey, &d)
	if err != nil || slices.Contains(d.Reasons, reason) {
		return store.Write{}, err
	}
	d.Reasons = append(d.Reasons, reason)
	put, err := encoded(e, d)
	if err != nil {
		return store.Write{}, err
	}
	return store.Write{Puts: []store.Entry{put}, Events: []event.Event{doubted(reason)}}, nil
}

func doubted(reason string) event.Event {
	return event.Event{
		Type: event.InstallationDoubted, Subject: Path,
		Data: event.Data{Actor: lease.System(lease.ActorSweep), Reason: reason, Path: Path},
	}
}

// Confirm ends every doubt: a person has made sure that this is the one
// installation, and that accounts without a lease are to go. Targets that were
// contested are taken over by the next round of the sweep, and so is, after a
// doubt, every other one whose mark is not known: a store that was restored does
// not remember its last marks. also are events that share the commit, such as
// the request's. It reports whether there was a doubt.
func Confirm(ctx context.Context, s store.Entries, by lease.Actor, also ...event.Event) (doubted bool, err error) {
	err = store.Change(ctx, s, func() (store.Write, error) {
		w := store.Write{Events: also}
		doubted = false
		contested, err := Contested(ctx, s)
		if err != nil {
			return w, err
		}
		var d Doubt
		e, _, err := read(ctx, s, doubtKey, &d)
		if err != nil || len(d.Reasons)+len(contested) == 0 {
			return w, err
		}
		doubted = true
		put, err := encoded(e, Doubt{Confirmed: d.Confirmed + 1})
		if err != nil {
			return w, err
		}
		w.Puts = []store.Entry{put}
		w.Events = append([]event.Event{{
			Type: event.InstallationConfirmed, Subject: Path,
			Data: event.Data{Actor: by, Reason: "stray accounts are taken away again", Path: Path},
		}}, also...)
		return w, nil
	})
	if err != nil {
		return false, fmt.Errorf("confirm the installation: %w", err)
	}
	return doubted, nil
}
