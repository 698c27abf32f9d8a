package mount

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/curfew-project/curfew/issuer/internal/request"
	"github.com/curfew-project/curfew/issuer/internal/wire"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

const (
	// maxDepth bounds the elements of a mount's path, and with it the look-ups
	// of a request, which may come from anybody.
	maxDepth = 8
	// attempts at a write that lost against another one.
	attempts = 8
	// page is how many entries one call reads.
	page = 500
)

// Store is what a [Shelf] needs of the store.
type Store interface {
	Entry(ctx context.Context, kind store.Kind, key string) (store.Entry, error)
	List(ctx context.Context, kind store.Kind, prefix, after string, withdrawn bool, limit int) ([]store.Entry, error)
	Write(ctx context.Context, w store.Write) ([]store.Entry, error)
}

// Revoker begins the revocation of every lease that a query selects.
type Revoker interface {
	RevokeAll(ctx context.Context, q store.Query, by lease.Actor, reason string) (int, error)
}

// Shelf is all mounts of one kind. A key is a path with a trailing slash.
type Shelf struct {
	Store Store
	Kind  store.Kind
	Table string // key of the entry of KindSystem that every enabling edits
	Noun  string // "mount", in errors
}

// Key is the key of a path.
func Key(path string) string { return strings.Trim(path, "/") + "/" }

// All returns every mount of a shelf, decoded, ordered by key; those that are
// being disabled only where asked for, and then only those.
func All[M any](ctx context.Context, h *Shelf, disabling bool, decode func(store.Entry) (M, error)) ([]M, error) {
	all := []M{}
	for after := ""; ; {
		entries, err := h.Store.List(ctx, h.Kind, "", after, disabling, page)
		if err != nil {
			return nil, fmt.Errorf("list %ss: %w", h.Noun, err)
		}
		for _, e := range entries {
			m, err := decode(e)
			if err != nil {
				return nil, err
			}
			all = append(all, m)
		}
		if len(entries) < page {
			return all, nil
		}
		after = entries[len(entries)-1].Key
	}
}

// Find returns the entry that serves path, and what remains of path below it;
// store.ErrNotFound where there is none. Nothing is below a key for which
// reserved says so.
func (h *Shelf) Find(ctx context.Context, path string, reserved func(key string) bool) (e store.Entry, rest string, err error) {
	key, rest := "", path
	for range maxDepth {
		element, after, inner := strings.Cut(rest, "/")
		key, rest = key+element+"/", after
		if element == "" || reserved(key) {
			break
		}
		e, err := h.Store.Entry(ctx, h.Kind, key)
		if err == nil {
			return e, rest, nil
		}
		if !errors.Is(err, store.ErrNotFound) {
			return e, "", fmt.Errorf("find %s: %w", h.Noun, err)
		}
		if !inner {
			break
		}
	}
	return e, "", store.ErrNotFound
}

// Enable makes an entry. free refuses a key that is taken; it may be asked
// several times.
func (h *Shelf) Enable(ctx context.Context, key string, settings any, free func(context.Context) error, events func() []event.Event) error {
	if strings.Count(key, "/") > maxDepth {
		return wire.Invalid("path %q has more than %d elements", key, maxDepth)
	}
	value, err := json.Marshal(settings)
	if err != nil {
		return fmt.Errorf("encode %s: %w", h.Noun, err)
	}
	for range attempts {
		// The table is read before its mounts: whoever enables in between makes
		// this write lose.
		guard, err := h.table(ctx)
		if err != nil {
			return err
		}
		if err := free(ctx); err != nil {
			return err
		}
		_, err = h.Store.Write(ctx, store.Write{
			Puts: []store.Entry{guard, {Kind: h.Kind, Key: key, Value: value}}, Events: events(),
		})
		if err == nil {
			return nil
		}
		if !errors.Is(err, store.ErrRevision) && !errors.Is(err, store.ErrExists) {
			return fmt.Errorf("enable %s: %w", h.Noun, err)
		}
	}
	return wire.Unavailable(nil, "%ss are being changed by others: try again", h.Noun)
}

// table is the entry that orders enablings, ready to be put.
func (h *Shelf) table(ctx context.Context) (store.Entry, error) {
	e, err := h.Store.Entry(ctx, store.KindSystem, h.Table)
	if errors.Is(err, store.ErrNotFound) {
		return store.Entry{Kind: store.KindSystem, Key: h.Table, Value: []byte("{}")}, nil
	}
	if err != nil {
		return e, fmt.Errorf("read the table of %ss: %w", h.Noun, err)
	}
	return e, nil
}

// Edit commits what edit makes of an entry, made anew where another change came
// first. An edit also changes an entry that was withdrawn meanwhile: that does no
// harm.
func (h *Shelf) Edit(ctx context.Context, edit func(context.Context) (e store.Entry, settings any, err error), events func() []event.Event) error {
	for range attempts {
		e, settings, err := edit(ctx)
		if err != nil {
			return err
		}
		if e.Value, err = json.Marshal(settings); err != nil {
			return fmt.Errorf("encode %s: %w", h.Noun, err)
		}
		_, err = h.Store.Write(ctx, store.Write{Puts: []store.Entry{e}, Events: events()})
		if err == nil {
			return nil
		}
		if !errors.Is(err, store.ErrRevision) && !errors.Is(err, store.ErrNotFound) {
			return fmt.Errorf("tune %s: %w", h.Noun, err)
		}
	}
	return wire.Unavailable(nil, "the %s is being changed by others: try again", h.Noun)
}

// Withdraw hides an entry, so that nothing new begins under it (A3). store.ErrNotFound
// where there is none, or another request was faster. What also makes of the
// entry shares the commit; it may be nil.
func (h *Shelf) Withdraw(
	ctx context.Context, key string, also func(store.Entry) ([]store.Entry, error), events func() []event.Event,
) (store.Entry, error) {
	e, err := h.Store.Entry(ctx, h.Kind, key)
	var puts []store.Entry
	if err == nil && also != nil {
		puts, err = also(e)
	}
	if err == nil {
		_, err = h.Store.Write(ctx, store.Write{
			Withdrawals: []store.Ref{{Kind: h.Kind, ID: e.ID}}, Puts: puts, Events: events(),
		})
	}
	if err != nil {
		return e, fmt.Errorf("disable %s: %w", h.Noun, err)
	}
	return e, nil
}

// Events makes what a change commits with itself: the change and the request,
// which is noted as one to mount.
func Events(r *request.Request, mount, subject string) func() []event.Event {
	return func() []event.Event {
		r.Mount = mount
		return []event.Event{r.Changed(subject), r.Event(http.StatusNoContent)}
	}
}
