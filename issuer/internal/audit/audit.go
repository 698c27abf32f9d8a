package audit

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/curfew-project/curfew/issuer/internal/request"
	"github.com/curfew-project/curfew/issuer/internal/wire"
	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/device"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/secret"
	"github.com/curfew-project/curfew/shared/store"
)

// Store is what devices need of the store.
type Store interface {
	store.Entries
	store.Time
	Head(ctx context.Context) (event.Position, error)
	Confirmed(ctx context.Context, consumer string) (event.Position, error)
}

// Sealer keeps the keys of devices; the context binds each to its device.
type Sealer interface {
	Seal(plaintext []byte, context string) ([]byte, error)
	Open(ciphertext []byte, context string) ([]byte, error)
}

// Marks knows what stands for the text of a token on record.
type Marks interface {
	Mark(ctx context.Context, text secret.Value) (mark string, known bool, err error)
}

// Desk answers.
type Desk struct {
	store  Store
	sealer Sealer
	marks  Marks
	clock  clock.Clock
}

// New returns a desk.
func New(s Store, sealer Sealer, marks Marks, c clock.Clock) *Desk {
	return &Desk{store: s, sealer: sealer, marks: marks, clock: c}
}

// listed is a device with its entry.
type listed struct {
	store.Entry
	device.Device
}

// all are the devices, ordered by path, also those that are not enabled yet.
func (d *Desk) all(ctx context.Context) ([]listed, error) {
	entries, err := d.store.List(ctx, store.KindAudit, "", "", false, 2*device.Most)
	if err != nil {
		return nil, fmt.Errorf("list audit devices: %w", err)
	}
	all := make([]listed, len(entries))
	for i, e := range entries {
		all[i].Entry = e
		if all[i].Device, err = device.Decode(e); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// at is the enabled device of a path, or store.ErrNotFound.
func (d *Desk) at(ctx context.Context, path string) (l listed, err error) {
	if l.Entry, err = d.store.Entry(ctx, store.KindAudit, device.Key(path)); err != nil {
		return l, err
	}
	if l.Device, err = device.Decode(l.Entry); err == nil && l.State != device.Active {
		err = store.ErrNotFound
	}
	return l, err
}

// shape is a device as look-ups show it.
func (l *listed) shape() map[string]any {
	options := l.Options
	if options == nil {
		options = map[string]string{}
	}
	return map[string]any{
		"type": l.Type, "description": l.Description, "options": options, "local": l.Local, "path": l.Entry.Key,
	}
}

// farBehind is how many events a device that writes may lack before somebody is
// told.
const farBehind = 10_000

// Read serves GET sys/audit.
func (d *Desk) Read(ctx context.Context, _ *request.Request) (*wire.Answer, error) {
	all, err := d.all(ctx)
	if err != nil {
		return nil, err
	}
	answer := wire.OK(map[string]any{})
	answer.Doubled = true
	for _, l := range all {
		if l.State != device.Active {
			continue
		}
		answer.Data[l.Entry.Key] = l.shape()
		_, behind, err := d.progress(ctx, &l)
		if err != nil {
			return nil, err
		}
		switch {
		case l.Trouble != "":
			answer.Warnings = append(answer.Warnings, fmt.Sprintf(
				"audit device %s does not write since %s: %s; %d events wait in the ledger", l.Entry.Key, wire.Stamp(l.Since), l.Trouble, behind))
		case behind > farBehind:
			answer.Warnings = append(answer.Warnings, fmt.Sprintf("audit device %s lacks %d events: is an auditor running?", l.Entry.Key, behind))
		}
	}
	return answer, nil
}

// ReadOne serves GET sys/audit/<path>, which stock servers do not have: what the
// device does.
func (d *Desk) ReadOne(ctx context.Context, _ *request.Request, path string) (*wire.Answer, error) {
	l, err := d.at(ctx, path)
	if errors.Is(err, store.ErrNotFound) {
		return nil, wire.Nothing()
	}
	if err != nil {
		return nil, err
	}
	at, behind, err := d.progress(ctx, &l)
	if err != nil {
		return nil, err
	}
	data := l.shape()
	data["state"], data["error"], data["error_since"] = "writing", l.Trouble, wire.Stamp(l.Since)
	if l.Trouble != "" {
		data["state"] = "failing"
	}
	data["position"], data["events_behind"] = at.String(), behind
	return wire.OK(data), nil
}

// progress is the last event that a device is known to have, and how many are
// numbered that it has not. After a change of epoch that counts the new one's.
func (d *Desk) progress(ctx context.Context, l *listed) (at event.Position, behind int64, err error) {
	head, err := d.store.Head(ctx)
	if err != nil {
		return at, 0, fmt.Errorf("read the last event: %w", err)
	}
	at, err = d.store.Confirmed(ctx, device.Consumer(l.ID))
	if err != nil {
		return at, 0, fmt.Errorf("read the position of an audit device: %w", err)
	}
	if at.Before(l.After) {
		at = l.After
	}
	if behind = head.Number; head.Epoch == at.Epoch {
		behind -= at.Number
	}
	return at, max(0, behind), nil
}

// Disable serves DELETE sys/audit/<path>. No device there is as good as disabled.
func (d *Desk) Disable(ctx context.Context, r *request.Request, path string) (*wire.Answer, error) {
	key := device.Key(path)
	e, err := d.store.Entry(ctx, store.KindAudit, key)
	if errors.Is(err, store.ErrNotFound) {
		return wire.NoContent(), nil
	}
	if err != nil {
		return nil, fmt.Errorf("find audit device: %w", err)
	}
	answer := wire.Done()
	_, err = d.store.Write(ctx, store.Write{
		Deletes: []store.Ref{{Kind: store.KindAudit, ID: e.ID}},
		Events:  []event.Event{r.Changed(device.Subject(key)), r.Event(answer.Code())},
	})
	if err != nil {
		return nil, fmt.Errorf("disable audit device: %w", err)
	}
	return answer, nil
}

// Hash serves POST sys/audit-hash/<path>: the text that stands for a value in the
// lines of a device.
func (d *Desk) Hash(ctx context.Context, r *request.Request, path string) (*wire.Answer, error) {
	input, err := r.Fields().String("input")
	if err != nil {
		return nil, err
	}
	if input == "" {
		return nil, wire.Invalid("the \"input\" parameter is empty")
	}
	l, err := d.at(ctx, path)
	if errors.Is(err, store.ErrNotFound) {
		return nil, wire.Invalid("unknown audit backend: %q", strings.Trim(path, "/")+"/")
	}
	if err != nil {
		return nil, err
	}
	key, err := d.sealer.Open(l.Device.Key, device.Sealing(l.ID))
	if err != nil {
		return nil, fmt.Errorf("open the key of audit device %s: %w", l.Entry.Key, err)
	}
	mark, known, err := d.marks.Mark(ctx, secret.New(input))
	if err != nil {
		return nil, err
	}
	if known {
		input = mark
	}
	return wire.OK(map[string]any{"hash": device.NewHasher(key).Hash(input)}), nil
}
