package installation

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/store"
)

const (
	// ownerPrefix is that of the entries that say what was written into targets.
	ownerPrefix = "owner/"
	// markPrefix begins a mark, so that a person who meets one knows whose it is.
	markPrefix = "curfew:"
	// disputePrefix begins the mark of a target that two claim.
	disputePrefix = "curfew-disputed:"
	// runsKept bounds the runs that are remembered: a target that is restored
	// from a backup has the mark of an old one.
	runsKept = 256
)

// Ownership is what the store knows of the marks in one target. It comes from
// [Owned] and goes to [Own].
type Ownership struct {
	// Engine is the type of the target's engine.
	Engine string `json:"engine,omitempty"`
	// Runs are the runs of processes that wrote marks, the latest last, with
	// the highest count that each may have written.
	Runs []Run `json:"runs"`
	// Contested says whose mark was found instead of ours; "" where none was.
	Contested string `json:"contested,omitempty"`
	// Confirmed is the last of a person's confirmations that was heeded.
	Confirmed int64 `json:"confirmed,omitempty"`
	// Adopt: a person has confirmed; the target is to be taken over, whatever
	// its mark. It stands until an ownership without it is committed.
	Adopt bool `json:"-"`

	confirmed int64 // the last confirmation, as Owned saw it
}

// Run is one run of a process that sweeps.
type Run struct {
	ID    string `json:"id"`
	Count int64  `json:"count"`
}

// Knows reports whether the mark may be this store's own: of a run that it
// knows, with a count that it has given. A target restored from a backup bears
// an older one. No mark at all is nobody's.
func (o *Ownership) Knows(mark string) bool {
	if mark == "" {
		return true
	}
	run, count, ok := parseMark(mark)
	return ok && slices.ContainsFunc(o.Runs, func(r Run) bool { return r.ID == run && count <= r.Count })
}

// Next counts the run up and returns the mark to be written. It is written
// after the ownership was committed. No mark is returned twice, unless
// [runsKept] other runs came between two of a run's own.
func (o *Ownership) Next(run string) string {
	r := Run{ID: run}
	if i := slices.IndexFunc(o.Runs, func(r Run) bool { return r.ID == run }); i >= 0 {
		r = o.Runs[i]
		o.Runs = slices.Delete(o.Runs, i, i+1)
	}
	r.Count++
	o.Runs = append(o.Runs, r)
	if n := len(o.Runs) - runsKept; n > 0 {
		o.Runs = slices.Delete(o.Runs, 0, n)
	}
	return markOf(r)
}

func markOf(r Run) string { return markPrefix + r.ID + ":" + strconv.FormatInt(r.Count, 10) }

// parseMark takes one spelling only: that of markOf.
func parseMark(mark string) (run string, count int64, ok bool) {
	run, number, _ := strings.Cut(strings.TrimPrefix(mark, markPrefix), ":")
	count, err := strconv.ParseInt(number, 10, 64)
	return run, count, err == nil && run != "" && count > 0 && mark == markOf(Run{ID: run, Count: count})
}

// Disputed is the mark that a run leaves in a target where it found one that its
// store does not know. It is nobody's, so that everybody who meets it only
// reports.
func Disputed(found, run string) string {
	if strings.HasPrefix(found, disputePrefix) {
		return found
	}
	return disputePrefix + run
}

// Owned returns what the store knows of a target's marks; the zero Ownership
// and revision 0 where it knows nothing.
func Owned(ctx context.Context, s store.Entries, target string) (o Ownership, e store.Entry, err error) {
	if e, _, err = read(ctx, s, ownerPrefix+target, &o); err != nil {
		return o, e, err
	}
	var d Doubt
	if _, _, err = read(ctx, s, doubtKey, &d); err != nil {
		return o, e, err
	}
	o.confirmed = d.Confirmed
	if o.Adopt = o.Confirmed < d.Confirmed; o.Adopt {
		o.Contested = ""
	}
	return o, e, nil
}

// Own commits what is known now, over the entry that [Owned] returned. The
// errors are those of a Write: ErrRevision and ErrExists where another process
// was faster.
func Own(ctx context.Context, s store.Entries, e store.Entry, o Ownership) error {
	return own(ctx, s, e, o)
}

// Contest is [Own] for a target whose mark found is another's: nothing is taken
// away there until a person confirms. name is what a person calls the target.
func Contest(ctx context.Context, s store.Entries, e store.Entry, o Ownership, name, found string) error {
	o.Contested = found
	why := doubted(fmt.Sprintf("%s bears the mark %q, which this installation did not write: another one sweeps there", name, found))
	why.Data.Target = strings.TrimPrefix(e.Key, ownerPrefix)
	return own(ctx, s, e, o, why)
}

func own(ctx context.Context, s store.Entries, e store.Entry, o Ownership, events ...event.Event) error {
	if !o.Adopt || o.Contested != "" { // whatever was confirmed before is heeded
		o.Confirmed = max(o.Confirmed, o.confirmed)
	}
	put, err := encoded(e, o)
	if err != nil {
		return err
	}
	if _, err := s.Write(ctx, store.Write{Puts: []store.Entry{put}, Events: events}); err != nil {
		return fmt.Errorf("write %s: %w", e.Key, err)
	}
	return nil
}

// Contested returns the targets whose mark is another's, with what was found.
func Contested(ctx context.Context, s store.Entries) (map[string]string, error) {
	owned, _, err := all[Ownership](ctx, s, ownerPrefix)
	if err != nil {
		return nil, err
	}
	var d Doubt
	if _, _, err := read(ctx, s, doubtKey, &d); err != nil {
		return nil, err
	}
	out := map[string]string{}
	for target, o := range owned {
		if o.Contested != "" && o.Confirmed >= d.Confirmed {
			out[target] = o.Contested
		}
	}
	return out, nil
}

// Forget takes away what is kept of an engine's targets that are gone. listed
// names those that are there; it is asked after what is kept was read, so that
// one which came in between is not missing from it.
func Forget(ctx context.Context, s store.Entries, engine string, listed func(context.Context) (map[string]bool, error)) error {
	owned, owners, err := all[Ownership](ctx, s, ownerPrefix)
	if err != nil {
		return err
	}
	found, reports, err := all[Strays](ctx, s, strayPrefix)
	if err != nil {
		return err
	}
	there, err := listed(ctx)
	if err != nil {
		return err
	}
	var w store.Write
	for target, o := range owned {
		if o.Engine == engine && !there[target] {
			w.Deletes = append(w.Deletes, store.Ref{Kind: store.KindSystem, ID: owners[target].ID})
		}
	}
	for target, r := range found {
		if r.Engine == engine && !there[target] {
			w.Deletes = append(w.Deletes, store.Ref{Kind: store.KindSystem, ID: reports[target].ID})
		}
	}
	if len(w.Deletes) == 0 {
		return nil
	}
	if _, err := s.Write(ctx, w); err != nil {
		return fmt.Errorf("forget targets that are gone: %w", err)
	}
	return nil
}
