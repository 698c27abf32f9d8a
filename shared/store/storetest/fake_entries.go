package storetest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/store"
)

// Entry implements [store.Entries].
func (f *Fake) Entry(ctx context.Context, kind store.Kind, key string) (store.Entry, error) {
	err := f.enter(ctx)
	defer f.mu.Unlock()
	if err != nil {
		return store.Entry{}, err
	}
	if e, ok := f.byKey(kind, key); ok {
		return copyOf(e), nil
	}
	return store.Entry{}, fmt.Errorf("read %s: %w", kind, store.ErrNotFound)
}

// EntryByID implements [store.Entries].
func (f *Fake) EntryByID(ctx context.Context, kind store.Kind, id string) (store.Entry, error) {
	err := f.enter(ctx)
	defer f.mu.Unlock()
	if err != nil {
		return store.Entry{}, err
	}
	if e, ok := f.entries[store.Ref{Kind: kind, ID: id}]; ok {
		return copyOf(e), nil
	}
	return store.Entry{}, fmt.Errorf("read %s: %w", kind, store.ErrNotFound)
}

func (f *Fake) byKey(kind store.Kind, key string) (store.Entry, bool) {
	for _, e := range f.entries {
		if e.Kind == kind && e.Key == key && !e.Withdrawn {
			return e, true
		}
	}
	return store.Entry{}, false
}

func copyOf(e store.Entry) store.Entry {
	e.Value = append([]byte{}, e.Value...)
	return e
}

// List implements [store.Entries].
func (f *Fake) List(ctx context.Context, kind store.Kind, prefix, after string, withdrawn bool, limit int) ([]store.Entry, error) {
	err := f.enter(ctx)
	defer f.mu.Unlock()
	if err != nil {
		return nil, err
	}
	var all []store.Entry
	for _, e := range f.entries {
		if e.Kind == kind && strings.HasPrefix(e.Key, prefix) && e.Key > after && e.Withdrawn == withdrawn {
			all = append(all, copyOf(e))
		}
	}
	slices.SortFunc(all, func(a, b store.Entry) int { return cmp.Or(cmp.Compare(a.Key, b.Key), cmp.Compare(a.ID, b.ID)) })
	n := min(len(all), cmp.Or(limit, 1000))
	for n > 0 && n < len(all) && all[n].Key == all[n-1].Key {
		n++
	}
	return all[:n], nil
}

// Write implements [store.Entries].
func (f *Fake) Write(ctx context.Context, w store.Write) ([]store.Entry, error) {
	err := f.enter(ctx)
	defer f.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return f.commit(w)
}

// commit makes all of w or nothing.
func (f *Fake) commit(w store.Write) ([]store.Entry, error) {
	return f.atomically(func(now time.Time) ([]store.Entry, error) {
		put, err := f.write(w, now)
		if err == nil {
			f.mend(w.Mends)
			f.append(now, w.Events...)
		}
		return put, err
	})
}

// atomically puts entries and barriers back if do fails.
func (f *Fake) atomically(do func(now time.Time) ([]store.Entry, error)) ([]store.Entry, error) {
	entries, barriers, position := maps.Clone(f.entries), maps.Clone(f.barriers), f.position
	put, err := do(f.now())
	if err != nil {
		f.entries, f.barriers, f.position = entries, barriers, position
		return nil, fmt.Errorf("write configuration: %w", err)
	}
	return put, nil
}

func (f *Fake) write(w store.Write, now time.Time) (put []store.Entry, err error) {
	for _, ref := range w.Deletes {
		delete(f.entries, ref)
		if ref.Kind == store.KindBarrier {
			delete(f.barriers, ref.ID)
		}
	}
	for _, ref := range w.Withdrawals {
		e, ok := f.entries[ref]
		if !ok || e.Withdrawn {
			return nil, fmt.Errorf("withdraw %s: %w", ref.Kind, store.ErrNotFound)
		}
		e.Withdrawn, e.ChangedAt = true, now
		e.Revision++
		f.entries[ref] = e
	}
	for _, e := range w.Puts {
		switch {
		case e.Revision != 0:
			e, err = f.edit(e, now)
		case e.Kind == store.KindBarrier:
			err = errors.New("a barrier is made by Raise")
		default:
			e, err = f.insert(e, now)
		}
		if err != nil {
			return nil, err
		}
		put = append(put, copyOf(e))
	}
	return put, nil
}

func (f *Fake) insert(e store.Entry, now time.Time) (store.Entry, error) {
	e.ID = cmp.Or(e.ID, store.NewIncarnation())
	ref := store.Ref{Kind: e.Kind, ID: e.ID}
	_, idTaken := f.entries[ref]
	if _, keyTaken := f.byKey(e.Kind, e.Key); keyTaken || idTaken {
		return e, fmt.Errorf("make %s %q: %w", e.Kind, e.Key, store.ErrExists)
	}
	e.Revision, e.Withdrawn, e.ChangedAt = 1, false, now
	f.entries[ref] = copyOf(e)
	return e, nil
}

func (f *Fake) edit(e store.Entry, now time.Time) (store.Entry, error) {
	have, ok := f.byKey(e.Kind, e.Key)
	if e.ID != "" {
		have, ok = f.entries[store.Ref{Kind: e.Kind, ID: e.ID}]
	}
	if !ok || have.Key != e.Key || have.Revision != e.Revision {
		return e, fmt.Errorf("edit %s %q: %w", e.Kind, e.Key, store.ErrRevision)
	}
	have.Value, have.ChangedAt = append([]byte{}, e.Value...), now
	have.Revision++
	f.entries[store.Ref{Kind: have.Kind, ID: have.ID}] = have
	return have, nil
}

// Raise implements [store.Entries].
func (f *Fake) Raise(ctx context.Context, b store.Barrier, events ...event.Event) (store.Barrier, error) {
	err := f.enter(ctx)
	defer f.mu.Unlock()
	if err := cmp.Or(err, b.Check()); err != nil {
		return b, fmt.Errorf("raise barrier: %w", err)
	}
	raised := b
	_, err = f.atomically(func(now time.Time) ([]store.Entry, error) {
		f.position++
		raised.Position, raised.RaisedAt = f.position, now
		value, err := raised.Encode()
		if err != nil {
			return nil, err
		}
		e, err := f.insert(store.Entry{Kind: store.KindBarrier, Key: b.Operation, Value: value}, now)
		if err != nil {
			return nil, err
		}
		f.barriers[e.ID] = raised
		f.append(now, events...)
		return nil, nil
	})
	if err != nil {
		return b, err
	}
	return raised, nil
}
