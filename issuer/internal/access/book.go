package access

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/issuer/internal/policy"
	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/step"
	"github.com/curfew-project/curfew/shared/store"
)

// Store is what access needs of the store.
type Store interface {
	store.Entries
	Get(ctx context.Context, id lease.ID) (lease.Lease, error)
}

const (
	// generationKey is the entry that is edited with every change.
	generationKey = "policies"
	// goodFor is how long what is kept counts after the store was asked.
	goodFor  = time.Second
	askEvery = 250 * time.Millisecond
	// kept bounds the sets of policies that are kept compiled.
	kept = 1024
)

// Book is the policies of the installation.
type Book struct {
	store Store
	clock clock.Clock
	log   zerolog.Logger
	root  *policy.ACL

	mu         sync.Mutex
	asked      time.Time // when the store was last asked, before its answer
	generation int64
	acls       map[string]*policy.ACL // by names
}

// NewBook returns the policies that the store has.
func NewBook(s Store, c clock.Clock, log zerolog.Logger) *Book {
	return &Book{store: s, clock: c, log: log, root: policy.New(policy.Root()), acls: map[string]*policy.ACL{}}
}

// Name implements [step.Step].
func (*Book) Name() string { return "policies" }

// Do implements [step.Step]: it sees what others have changed.
func (b *Book) Do(ctx context.Context) (time.Duration, error) {
	_, err := b.ask(ctx)
	return askEvery, err
}

// ask reads the generation, and drops what was compiled under another.
func (b *Book) ask(ctx context.Context) (int64, error) {
	before := b.clock.Now()
	e, err := b.store.Entry(ctx, store.KindSystem, generationKey)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return 0, fmt.Errorf("ask whether policies changed: %w", err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if before.Before(b.asked) || e.Revision < b.generation && before.Equal(b.asked) {
		return b.generation, nil // somebody asked after us
	}
	if e.Revision != b.generation {
		clear(b.acls)
	}
	b.asked, b.generation = before, e.Revision
	return e.Revision, nil
}

// ACL is what the named policies allow together.
func (b *Book) ACL(ctx context.Context, names []string) (*policy.ACL, error) {
	if slices.Contains(names, policy.RootName) {
		return b.root, nil
	}
	key := strings.Join(names, "\x00") // sorted by whoever made the token
	b.mu.Lock()
	generation, acl := b.generation, b.acls[key]
	fresh := !b.asked.IsZero() && b.clock.Now().Sub(b.asked) < goodFor
	b.mu.Unlock()
	if !fresh {
		var err error
		if generation, err = b.ask(ctx); err != nil {
			return nil, err
		}
		b.mu.Lock()
		acl = b.acls[key]
		b.mu.Unlock()
	}
	if acl != nil {
		return acl, nil
	}
	var all []*policy.Policy
	for _, name := range names {
		p, err := b.policy(ctx, name)
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	acl = policy.New(all...)
	b.mu.Lock()
	defer b.mu.Unlock()
	// What was read is of this generation or of a later one, which clears it.
	if b.generation == generation {
		if len(b.acls) >= kept {
			clear(b.acls)
		}
		b.acls[key] = acl
	}
	return acl, nil
}

// record is a policy as the store has it.
type record struct {
	Text string `json:"text"`
}

// read returns a policy as it was written. The default one is there until it is
// written.
func (b *Book) read(ctx context.Context, name string) (r record, e store.Entry, err error) {
	e, err = b.store.Entry(ctx, store.KindPolicy, name)
	switch {
	case errors.Is(err, store.ErrNotFound) && name == policy.DefaultName:
		return record{Text: policy.DefaultText}, store.Entry{}, nil
	case errors.Is(err, store.ErrNotFound):
		return r, e, err
	case err != nil:
		return r, e, fmt.Errorf("read policy %q: %w", name, err)
	}
	if err := json.Unmarshal(e.Value, &r); err != nil {
		return r, e, fmt.Errorf("decode policy %q: %w", name, err)
	}
	return r, e, nil
}

// Missing are those of the names that no policy has.
func (b *Book) Missing(ctx context.Context, names []string) (missing []string, err error) {
	for _, name := range names {
		if name == policy.RootName {
			continue
		}
		switch _, _, err := b.read(ctx, name); {
		case errors.Is(err, store.ErrNotFound):
			missing = append(missing, name)
		case err != nil:
			return missing, err
		}
	}
	return missing, nil
}

// policy is nil where there is none of that name, or none that can be read.
func (b *Book) policy(ctx context.Context, name string) (*policy.Policy, error) {
	r, _, err := b.read(ctx, name)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil //nolint:nilnil // what is not there allows nothing
	}
	if err != nil {
		return nil, err
	}
	p, err := policy.Parse(name, r.Text)
	if err != nil { // written by another version
		b.log.Error().Err(err).Str("policy", name).Msg("a policy cannot be read: it allows nothing")
		return nil, nil //nolint:nilnil // see above
	}
	return p, nil
}

// change commits what making returns and the next generation.
func (b *Book) change(ctx context.Context, making func() (store.Write, error)) error {
	err := store.Change(ctx, b.store, func() (store.Write, error) {
		w, err := making()
		if err != nil {
			return w, err
		}
		e, err := b.store.Entry(ctx, store.KindSystem, generationKey)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return w, fmt.Errorf("read the generation of policies: %w", err)
		}
		e.Kind, e.Key, e.Value = store.KindSystem, generationKey, []byte("{}")
		w.Puts = append(w.Puts, e)
		return w, nil
	})
	if err != nil {
		return fmt.Errorf("write policy: %w", err)
	}
	if _, err := b.ask(ctx); err != nil { // nothing older counts here: the next request asks again
		b.mu.Lock()
		defer b.mu.Unlock()
		b.asked = time.Time{}
	}
	return nil
}

// put keeps a policy.
func (b *Book) put(ctx context.Context, name, text string, also ...event.Event) error {
	value, err := json.Marshal(record{Text: text})
	if err != nil {
		return fmt.Errorf("encode policy: %w", err)
	}
	return b.change(ctx, func() (store.Write, error) {
		_, e, err := b.read(ctx, name)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return store.Write{}, err
		}
		e.Kind, e.Key, e.Value = store.KindPolicy, name, value
		return store.Write{Puts: []store.Entry{e}, Events: also}, nil
	})
}

// remove deletes a policy; one that is not there is as good as deleted.
func (b *Book) remove(ctx context.Context, name string, also ...event.Event) error {
	return b.change(ctx, func() (store.Write, error) {
		e, err := b.store.Entry(ctx, store.KindPolicy, name)
		if errors.Is(err, store.ErrNotFound) {
			return store.Write{Events: also}, nil
		}
		if err != nil {
			return store.Write{}, fmt.Errorf("read policy %q: %w", name, err)
		}
		return store.Write{Deletes: []store.Ref{{Kind: e.Kind, ID: e.ID}}, Events: also}, nil
	})
}

var _ step.Step = (*Book)(nil)
