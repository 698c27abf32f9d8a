package audit

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/curfew-project/curfew/issuer/internal/request"
	"github.com/curfew-project/curfew/issuer/internal/wire"
	"github.com/curfew-project/curfew/shared/device"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/store"
)

const (
	// askEvery is how often who waits asks for the auditor's answer.
	askEvery = 50 * time.Millisecond
	// patience is how much longer than the auditor's time the issuer waits: the
	// auditor may just have committed its answer.
	patience = time.Second
	// takeBackWithin bounds the taking back of what nobody answered.
	takeBackWithin = 5 * time.Second
	// maxDepth bounds the elements of a device's path.
	maxDepth = 8
	// tableKey is the entry that every enabling edits, so that of two at the same
	// time the later sees the former.
	tableKey = "audit-table"
)

// Enable serves PUT sys/audit/<path>: it asks the auditor to open the file and
// waits for the answer.
func (d *Desk) Enable(ctx context.Context, r *request.Request, path string) (*wire.Answer, error) {
	wanted, err := wantedOf(r.Fields())
	if err != nil {
		return nil, err
	}
	key := device.Key(path)
	if strings.Count(key, "/") > maxDepth {
		return nil, wire.Invalid("path %q has more than %d elements", key, maxDepth)
	}
	id := store.NewIncarnation()
	if wanted.Key, err = d.sealer.Seal(device.NewKey(), device.Sealing(id)); err != nil {
		return nil, fmt.Errorf("seal the key of an audit device: %w", err)
	}
	if err := d.begin(ctx, r, store.Entry{Key: key, ID: id}, wanted); err != nil {
		return nil, err
	}
	// What was begun is finished, whatever the client does.
	answered, err := d.await(context.WithoutCancel(ctx), r, id)
	switch {
	case err != nil:
		return nil, err
	case answered.State == device.Refused:
		return nil, wire.Invalid("sanity check failed; %s", answered.Reason)
	}
	return wire.NoContent(), nil
}

// wantedOf reads what a client asks for.
func wantedOf(f wire.Fields) (w device.Device, err error) {
	if w.Type, err = f.String("type"); err != nil {
		return w, err
	}
	if w.Type != device.TypeFile {
		return w, wire.Invalid("unknown backend type: %q", w.Type)
	}
	if w.Description, err = f.String("description"); err != nil {
		return w, err
	}
	if w.Local, err = f.Bool("local", false); err != nil {
		return w, err
	}
	if w.Options, err = f.StringMap("options"); err != nil {
		return w, err
	}
	if _, err := device.ParseOptions(w.Options); err != nil {
		return w, wire.Invalid("%v", err)
	}
	return w, nil
}

// begin commits the entry that asks.
func (d *Desk) begin(ctx context.Context, r *request.Request, e store.Entry, wanted device.Device) error {
	now, err := d.store.Now(ctx)
	if err != nil {
		return fmt.Errorf("read the store's clock: %w", err)
	}
	wanted.State, wanted.Until = device.Enabling, now.Add(device.EnableWithin)
	e, err = device.Put(e, wanted)
	if err != nil {
		return err
	}
	err = store.Change(ctx, d.store, func() (w store.Write, err error) {
		table, err := d.store.Entry(ctx, store.KindSystem, tableKey)
		if errors.Is(err, store.ErrNotFound) {
			table, err = store.Entry{Kind: store.KindSystem, Key: tableKey, Value: []byte("{}")}, nil
		}
		if err != nil {
			return w, err
		}
		if w.Deletes, err = d.free(ctx, e.Key, now); err != nil {
			return w, err
		}
		w.Puts = []store.Entry{table, e}
		w.Events = []event.Event{r.Changed(device.Subject(e.Key))}
		return w, nil
	})
	if _, told := errors.AsType[*wire.Error](err); err != nil && !told {
		return fmt.Errorf("enable audit device: %w", err)
	}
	return err
}

// free refuses a path at, inside or around another device, and one too many. It
// returns what is in the way and nobody's: refused, or never answered.
func (d *Desk) free(ctx context.Context, key string, now time.Time) (over []store.Ref, err error) {
	all, err := d.all(ctx)
	if err != nil {
		return nil, err
	}
	live := 0
	for _, l := range all {
		// The auditor answers none after its time, but its answer may be on its way.
		if l.State == device.Refused || l.State == device.Enabling && now.After(l.Until.Add(device.EnableWithin)) {
			over = append(over, store.Ref{Kind: store.KindAudit, ID: l.ID})
			continue
		}
		if strings.HasPrefix(l.Entry.Key, key) || strings.HasPrefix(key, l.Entry.Key) {
			return nil, wire.Invalid("path already in use")
		}
		live++
	}
	if live >= device.Most {
		return nil, wire.Invalid("there are %d audit devices already: disable one first", live)
	}
	return over, nil
}

// await waits for the auditor's answer; without one the device is taken back.
func (d *Desk) await(ctx context.Context, r *request.Request, id string) (listed, error) {
	deadline := d.clock.Now().Add(device.EnableWithin + patience)
	var last error
	for d.clock.Now().Before(deadline) {
		l, err := d.asked(ctx, id)
		switch {
		case errors.Is(err, store.ErrNotFound):
			return l, wire.Invalid("the audit device was disabled before its file was opened")
		case err == nil && l.State != device.Enabling:
			d.clear(ctx, &l)
			return l, nil
		}
		last = err
		tick, stop := d.clock.Timer(askEvery)
		<-tick
		stop()
	}
	return d.takeBack(ctx, r, id, last)
}

func (d *Desk) asked(ctx context.Context, id string) (l listed, err error) {
	ctx, cancel := context.WithTimeout(ctx, takeBackWithin)
	defer cancel()
	if l.Entry, err = d.store.EntryByID(ctx, store.KindAudit, id); err != nil {
		return l, err
	}
	l.Device, err = device.Decode(l.Entry)
	return l, err
}

// clear deletes a device that was refused. Where that fails it is in nobody's way.
func (d *Desk) clear(ctx context.Context, l *listed) {
	if l.State != device.Refused {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, takeBackWithin)
	defer cancel()
	_, _ = d.store.Write(ctx, store.Write{Deletes: []store.Ref{{Kind: store.KindAudit, ID: l.ID}}})
}

// noAuditor is why a device is refused that nobody answered for.
const noAuditor = "no auditor opened the file: one has to run that appends to the ledger"

// takeBack refuses a device that no auditor has answered for, unless the answer
// comes first.
func (d *Desk) takeBack(ctx context.Context, r *request.Request, id string, cause error) (listed, error) {
	l, err := d.asked(ctx, id)
	if err == nil && l.State == device.Enabling {
		l.State, l.Reason = device.Refused, noAuditor
		err = d.refuse(ctx, r, &l)
		if err == nil {
			d.clear(ctx, &l)
			return l, wire.Unavailable(cause, noAuditor)
		}
		if errors.Is(err, store.ErrRevision) { // the answer was first
			l, err = d.asked(ctx, id)
		}
	}
	if err != nil {
		return l, wire.Unavailable(errors.Join(cause, err), "whether the audit device was enabled is not known: look at sys/audit, and try again")
	}
	d.clear(ctx, &l)
	return l, nil
}

func (d *Desk) refuse(ctx context.Context, r *request.Request, l *listed) error {
	ctx, cancel := context.WithTimeout(ctx, takeBackWithin)
	defer cancel()
	e, err := device.Put(l.Entry, l.Device)
	if err != nil {
		return err
	}
	changed := r.Changed(device.Subject(l.Entry.Key))
	changed.Data.Reason = "audit device refused: " + l.Reason
	_, err = d.store.Write(ctx, store.Write{Puts: []store.Entry{e}, Events: []event.Event{changed}})
	return err
}
