package unseal

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/curfew-project/curfew/issuer"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/seal"
	"github.com/curfew-project/curfew/shared/secret"
	"github.com/curfew-project/curfew/shared/step"
	"github.com/curfew-project/curfew/shared/store"
)

const (
	// openKey is the entry that is in force while the API is open: to seal is to
	// withdraw it, so that every intent, which names it in its guard, is refused
	// in its commit from then on, whatever an issuer knows (A3).
	openKey = "seal"
	// lookEvery is how soon an API follows a seal, or its end, of another issuer.
	lookEvery = 500 * time.Millisecond
)

func openEntry() store.Entry {
	return store.Entry{Kind: store.KindSystem, Key: openKey, Value: []byte("{}")}
}

// fetch reads the installation's record and whether the API is sealed; known is
// false where there is no installation.
func (i *Installation) fetch(ctx context.Context) (known bool, err error) {
	i.fetching.Lock()
	defer i.fetching.Unlock()
	e, err := i.store.Entry(ctx, store.KindSystem, installationKey)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	var r record
	if err == nil {
		err = json.Unmarshal(e.Value, &r)
	}
	if err != nil {
		return false, fmt.Errorf("read the installation: %w", err)
	}
	if !r.Seal {
		if err := i.addSeal(ctx, e, r); err != nil {
			return false, err
		}
	}
	guard, err := i.guard(ctx)
	if err != nil {
		return false, err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.known, i.check, i.id, i.split, i.shut, i.inForce = true, r.Check, r.ID, r.Split, guard == "", guard
	return true, nil
}

// guard is the incarnation of the entry that is in force; empty: sealed.
func (i *Installation) guard(ctx context.Context) (string, error) {
	e, err := i.store.Entry(ctx, store.KindSystem, openKey)
	if errors.Is(err, store.ErrNotFound) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read the seal: %w", err)
	}
	return e.ID, nil
}

// addSeal brings an installation up to date that was made when none could be
// sealed. Of several processes one does it.
func (i *Installation) addSeal(ctx context.Context, e store.Entry, r record) error {
	r.Seal = true
	var err error
	if e.Value, err = json.Marshal(r); err != nil {
		return fmt.Errorf("encode the installation: %w", err)
	}
	_, err = i.store.Write(ctx, store.Write{Puts: []store.Entry{e, openEntry()}})
	if err != nil && !errors.Is(err, store.ErrRevision) && !errors.Is(err, store.ErrExists) {
		return fmt.Errorf("add the seal: %w", err)
	}
	return nil
}

// Name implements [step.Step].
func (*Installation) Name() string { return "seal" }

// Do implements [step.Step]: it sees what other issuers did.
func (i *Installation) Do(ctx context.Context) (time.Duration, error) {
	_, err := i.fetch(ctx)
	return lookEvery, err
}

// Guard implements [issuer.Seal].
func (i *Installation) Guard() []store.Ref {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.inForce == "" {
		return nil
	}
	return []store.Ref{{Kind: store.KindSystem, ID: i.inForce}}
}

// Shut implements [issuer.Seal]. The key stays in the process: what was issued
// is revoked on time (C10).
func (i *Installation) Shut(ctx context.Context, events ...event.Event) error {
	id, err := i.guard(ctx)
	if err == nil && id != "" {
		_, err = i.store.Write(ctx, store.Write{Withdrawals: []store.Ref{{Kind: store.KindSystem, ID: id}}, Events: events})
		if errors.Is(err, store.ErrNotFound) { // another did it
			err = nil
		}
	}
	_, read := i.fetch(ctx) // also where the answer of the commit was lost
	if err != nil {
		return fmt.Errorf("seal: %w", err)
	}
	return read
}

// Unseal implements [issuer.Seal].
func (i *Installation) Unseal(ctx context.Context, text secret.Value, by lease.Actor) error {
	known, err := i.fetch(ctx)
	if err != nil {
		return err
	}
	if !known {
		return issuer.ErrNotInitialized
	}
	i.mu.Lock()
	shut, ring := i.shut, i.ring
	i.mu.Unlock()
	if !shut && ring != nil {
		return nil
	}
	key, err := decodeKey(text)
	if err != nil {
		return err
	}
	if key, err = i.gather(key); key == nil || err != nil {
		return err
	}
	given, err := seal.New(key)
	if err != nil || !i.fits(given) {
		return issuer.ErrWrongKey
	}
	if shut {
		w := store.Write{Puts: []store.Entry{openEntry()}, Events: []event.Event{{
			Type: event.ConfigChanged, Subject: "sys/unseal", Data: event.Data{Actor: by, Reason: "unsealed", Path: "sys/unseal"},
		}}}
		if _, err := i.store.Write(ctx, w); err != nil && !errors.Is(err, store.ErrExists) { // another did it
			return fmt.Errorf("unseal: %w", err)
		}
	}
	if ring == nil {
		i.open(given)
	}
	_, err = i.fetch(ctx)
	i.Reset() // after that: who comes now finds it open, and leaves no share behind
	return err
}

// decodeKey reads a key as people have it: hex or base64.
func decodeKey(text secret.Value) ([]byte, error) {
	if key, err := hex.DecodeString(text.Reveal()); err == nil {
		return key, nil
	}
	key, err := base64.StdEncoding.DecodeString(text.Reveal())
	if err != nil {
		return nil, issuer.ErrNoKey
	}
	return key, nil
}

// fits reports whether a ring is this installation's.
func (i *Installation) fits(ring *seal.Keyring) bool {
	i.mu.Lock()
	check := i.check
	i.mu.Unlock()
	text, err := ring.Open(checkContext, check)
	return err == nil && string(text) == checkText
}

var _ step.Step = (*Installation)(nil)
