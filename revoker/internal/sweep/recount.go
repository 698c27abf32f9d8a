package sweep

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/installation"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

// Recount compares the counts of living leases, which quotas go by, with the
// leases, and mends what differs: programs of a version that did not count may
// have run beside one that did. It does so once a day, when all programs have
// come to another version, and when a person asks. Of all processes one does it,
// page by page in one snapshot, and rests as long as it works.
//
// What it finds was so in its snapshot. Counts go on meanwhile, so it adds what
// was missing instead of writing what it counted; the revision of the entry that
// says when the last one was keeps two of them from adding the same.
type Recount struct {
	Store Store
	Time  *store.Estimate
	Clock clock.Clock
	Log   zerolog.Logger
	Every time.Duration // between recounts that nobody asks for
	Look  time.Duration // between looks at whether one is due
	// Told hears of each recount how many paths it mended; it must not block.
	Told func(paths int)
}

const (
	// claimed is how long after its last sign of life a recount is taken for
	// dead: it gives one after a third of that.
	claimed = 30 * time.Second
	// alive is how old the word of a process may be that it runs.
	alive = time.Minute
	// longestRest bounds a rest between two pages: the session keeps a snapshot.
	longestRest = time.Second
	// namedPaths bounds what the record names.
	namedPaths = 20
)

// Name implements [step.Step].
func (s *Recount) Name() string { return "recount" }

// Do implements [step.Step].
func (s *Recount) Do(ctx context.Context) (time.Duration, error) {
	last, e, err := store.ReadRecount(ctx, s.Store)
	if err != nil {
		return 0, err
	}
	now, err := s.Time.Now(ctx)
	if err != nil {
		return 0, err
	}
	version, err := s.version(ctx, now)
	if err != nil {
		return 0, err
	}
	if !s.due(&last, now, version) {
		return s.Look, nil
	}
	last.ClaimedAt = now
	if e, err = s.put(ctx, last, e, store.Write{}); errors.Is(err, store.ErrRevision) || errors.Is(err, store.ErrExists) {
		return s.Look, nil // another process was faster
	}
	if err != nil {
		return 0, fmt.Errorf("claim the recount: %w", err)
	}
	return s.Look, s.recount(ctx, last, e, version)
}

// due: asked for; or the last one is long ago, or was of another version, and
// not while programs of several versions run.
func (s *Recount) due(last *store.Recount, now time.Time, version string) bool {
	switch {
	case !last.ClaimedAt.IsZero() && now.Sub(last.ClaimedAt) < claimed:
		return false
	case last.AskedAt.After(last.At):
		return true
	case version == "":
		return false
	}
	return now.Sub(last.At) >= s.Every || version != last.Version
}

// version is the one of all programs that run; empty: there are several.
func (s *Recount) version(ctx context.Context, now time.Time) (string, error) {
	running, err := installation.Processes(ctx, s.Store)
	if err != nil {
		return "", err
	}
	version := ""
	for _, p := range running {
		switch {
		case now.Sub(p.Seen) > alive:
		case version != "" && p.Version != version:
			return "", nil
		default:
			version = p.Version
		}
	}
	return version, nil
}

func (s *Recount) put(ctx context.Context, r store.Recount, e store.Entry, w store.Write) (store.Entry, error) {
	e, err := r.Put(e)
	if err != nil {
		return e, err
	}
	w.Puts = []store.Entry{e}
	put, err := s.Store.Write(ctx, w)
	if err != nil {
		return e, err
	}
	return put[0], nil
}

func (s *Recount) recount(ctx context.Context, last store.Recount, e store.Entry, version string) error {
	page := s.Clock.Now()
	found, err := s.Store.Miscounts(ctx, func(ctx context.Context) error {
		err := s.rest(ctx, s.Clock.Now().Sub(page))
		if err == nil {
			e, err = s.goesOn(ctx, &last, e)
		}
		page = s.Clock.Now()
		return err
	})
	if errors.Is(err, store.ErrRevision) { // it was asked for anew, or taken for dead
		return nil
	}
	if err != nil {
		return err
	}
	if last.At, err = s.Time.Now(ctx); err != nil {
		return err
	}
	last.ClaimedAt, last.Version, last.Mended = time.Time{}, version, len(found)
	w := store.Write{Mends: found}
	if len(found) > 0 {
		w.Events = []event.Event{mended(found)}
	}
	_, err = s.put(ctx, last, e, w)
	if errors.Is(err, store.ErrRevision) { // as above: the next one finds the same
		return nil
	}
	if err != nil {
		return fmt.Errorf("mend counts: %w", err)
	}
	if len(found) > 0 {
		s.Log.Warn().Int("paths", len(found)).Str("counts", named(found)).Msg("counts of living leases were wrong and are mended")
	}
	s.Told(len(found))
	return nil
}

// goesOn renews the claim now and then, so that nobody takes a long recount for
// dead.
func (s *Recount) goesOn(ctx context.Context, last *store.Recount, e store.Entry) (store.Entry, error) {
	now, err := s.Time.Now(ctx)
	if err != nil || now.Sub(last.ClaimedAt) < claimed/3 {
		return e, err
	}
	last.ClaimedAt = now
	return s.put(ctx, *last, e, store.Write{})
}

// rest waits as long as the work before it took.
func (s *Recount) rest(ctx context.Context, took time.Duration) error {
	return clock.Sleep(ctx, s.Clock, min(took, longestRest))
}

// mended is the record of what a recount changed.
func mended(found []store.Miscount) event.Event {
	const path = "sys/leases/recount"
	return event.Event{Type: event.ConfigChanged, Subject: path, Data: event.Data{
		Actor: lease.System(lease.ActorSweep), Path: path,
		Reason: "counts of living leases were wrong and are mended: " + named(found),
	}}
}

// named are the first paths with the counts that they had and have.
func named(found []store.Miscount) string {
	var out []string
	for _, m := range found[:min(len(found), namedPaths)] {
		out = append(out, fmt.Sprintf("%q %d is %d", m.Path, m.Kept, m.Living))
	}
	if more := len(found) - len(out); more > 0 {
		out = append(out, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(out, ", ")
}
