package passwords

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/curfew-project/curfew/issuer/internal/request"
	"github.com/curfew-project/curfew/issuer/internal/wire"
	"github.com/curfew-project/curfew/shared/password"
	"github.com/curfew-project/curfew/shared/store"
)

const maxName = 256

// Store is what a [Desk] needs of the store.
type Store interface {
	store.Entries
}

// Desk serves the paths of password policies.
type Desk struct{ store Store }

// New returns a desk.
func New(s Store) *Desk { return &Desk{s} }

// List serves LIST sys/policies/password.
func (d *Desk) List(ctx context.Context, r *request.Request) (*wire.Answer, error) {
	names := []string{}
	for after := r.After; r.Limit == 0 || len(names) < r.Limit; {
		limit := 0
		if r.Limit > 0 {
			limit = r.Limit - len(names)
		}
		page, err := d.store.List(ctx, store.KindPassword, "", after, false, limit)
		if err != nil {
			return nil, fmt.Errorf("list password policies: %w", err)
		}
		if len(page) == 0 {
			break
		}
		for _, e := range page {
			names, after = append(names, e.Key), e.Key
		}
	}
	if len(names) == 0 {
		return nil, wire.Nothing()
	}
	return wire.OK(map[string]any{"keys": names}), nil
}

// Read serves GET sys/policies/password/<name>.
func (d *Desk) Read(ctx context.Context, _ *request.Request, name string) (*wire.Answer, error) {
	p, err := d.read(ctx, name)
	if err != nil {
		return nil, err
	}
	return wire.OK(map[string]any{"policy": p.Text}), nil
}

func (d *Desk) read(ctx context.Context, name string) (password.Policy, error) {
	e, err := d.store.Entry(ctx, store.KindPassword, name)
	if errors.Is(err, store.ErrNotFound) {
		return password.Policy{}, &wire.Error{Status: http.StatusNotFound, Messages: []string{"policy does not exist"}}
	}
	if err != nil {
		return password.Policy{}, fmt.Errorf("read password policy: %w", err)
	}
	return password.Decode(e.Value)
}

// Write serves PUT and POST of it.
func (d *Desk) Write(ctx context.Context, r *request.Request, name string) (*wire.Answer, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	text, err := r.Fields().String("policy")
	if err != nil {
		return nil, err
	}
	if text == "" {
		return nil, wire.Invalid("missing policy")
	}
	if plain, err := base64.StdEncoding.DecodeString(text); err == nil {
		text = string(plain)
	}
	p, err := parse(text)
	if err != nil {
		return nil, wire.Invalid("invalid password policy: %v", err)
	}
	if err := p.Validate(); err != nil {
		return nil, wire.Invalid("invalid password policy: %s", wire.Listed(err.Error()))
	}
	if err := p.Check(); err != nil {
		return nil, wire.Invalid("%v", err)
	}
	value, err := p.Encode()
	if err != nil {
		return nil, err
	}
	return d.change(ctx, func() (store.Write, error) {
		e, err := d.store.Entry(ctx, store.KindPassword, name)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return store.Write{}, err
		}
		e.Kind, e.Key, e.Value = store.KindPassword, name, value
		w := store.Write{Puts: []store.Entry{e}}
		w.Events = append(w.Events, r.Changed("sys/policies/password/"+name), r.Event(http.StatusNoContent))
		return w, nil
	})
}

// Delete serves DELETE of it; one that is not there is as good as deleted.
func (d *Desk) Delete(ctx context.Context, r *request.Request, name string) (*wire.Answer, error) {
	return d.change(ctx, func() (store.Write, error) {
		var w store.Write
		switch e, err := d.store.Entry(ctx, store.KindPassword, name); {
		case err == nil:
			w.Deletes = append(w.Deletes, store.Ref{Kind: e.Kind, ID: e.ID})
			w.Events = append(w.Events, r.Changed("sys/policies/password/"+name))
		case !errors.Is(err, store.ErrNotFound):
			return w, err
		}
		w.Events = append(w.Events, r.Event(http.StatusNoContent))
		return w, nil
	})
}

func (d *Desk) change(ctx context.Context, making func() (store.Write, error)) (*wire.Answer, error) {
	if err := store.Change(ctx, d.store, making); err != nil {
		return nil, fmt.Errorf("write password policy: %w", err)
	}
	return wire.Done(), nil
}

// Generate serves GET sys/policies/password/<name>/generate.
func (d *Desk) Generate(ctx context.Context, _ *request.Request, name string) (*wire.Answer, error) {
	p, err := d.read(ctx, name)
	if err != nil {
		return nil, err
	}
	text, err := p.Generate(rand.Reader)
	if err != nil {
		return nil, err
	}
	return wire.OK(map[string]any{"password": text}), nil
}

// checkName refuses names that could not be told apart in a list or a log.
func checkName(name string) error {
	odd := func(r rune) bool { return !unicode.IsPrint(r) }
	if len(name) > maxName || !utf8.ValidString(name) || strings.ContainsFunc(name, odd) || strings.TrimSpace(name) != name {
		return wire.Invalid("the name of a policy has at most %d bytes, all of them printable", maxName)
	}
	return nil
}
