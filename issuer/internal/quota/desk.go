package quota

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/issuer/internal/request"
	"github.com/curfew-project/curfew/issuer/internal/wire"
	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/store"
)

// Store is what quotas need of the store.
type Store interface {
	store.Entries
	Living(ctx context.Context, path string) (int64, error)
}

// maxQuotas bounds the quotas of a kind: each commit of an intent that one
// governs reads those of leases.
const maxQuotas = 500

// Desk serves sys/quotas.
type Desk struct {
	*Limiter
	store   Store
	name    *regexp.Regexp
	mounted Mounted
}

// Mounted reports whether something is mounted at path or above it.
type Mounted func(ctx context.Context, path string) (bool, error)

// New returns a desk.
func New(s Store, c clock.Clock, log zerolog.Logger, m Mounted) *Desk {
	return &Desk{
		Limiter: NewLimiter(s, c, log), store: s, mounted: m,
		name: regexp.MustCompile(`^\w(([\w.-]+)?\w)?$`), // as stock servers have it
	}
}

// wanted is a quota as a client asks for it.
type wanted struct {
	kind       store.Kind
	name, path string // path: without slashes at its ends
	value      []byte
}

// read reads the fields that both kinds have.
func (d *Desk) wanted(ctx context.Context, r *request.Request, kind store.Kind, name string) (wanted, error) {
	w := wanted{kind: kind, name: name}
	if !d.name.MatchString(name) {
		return w, wire.Invalid("the name of a quota is letters, digits and _, with . and - inside")
	}
	role, err := r.Fields().String("role")
	if err != nil {
		return w, err
	}
	if role != "" {
		return w, wire.Invalid("quotas by login role are not supported: leave role empty, and set a quota for a path")
	}
	if w.path, err = r.Fields().String("path"); err != nil {
		return w, err
	}
	w.path = strings.TrimSuffix(strings.Trim(w.path, "/"), "/*")
	switch first, _, _ := strings.Cut(w.path, "/"); {
	case strings.ContainsAny(w.path, "*+"):
		return w, wire.Invalid("a quota is for a path and everything below it: patterns are not supported")
	case w.path == "", first == "sys", first == "auth":
		return w, nil
	}
	known, err := d.mounted(ctx, w.path)
	if err == nil && !known {
		err = wire.Invalid("invalid mount path %q", w.path)
	}
	return w, err
}

// key is the key of its entry.
func (w *wanted) key() string {
	path := w.path
	if path != "" {
		path += "/" // what begins with it lies below it
	}
	return store.QuotaKey(path)
}

// put keeps a quota, in place of one of the same name.
func (d *Desk) put(ctx context.Context, r *request.Request, w wanted) (*wire.Answer, error) {
	err := store.Change(ctx, d.store, func() (store.Write, error) {
		out := store.Write{}
		now, err := d.store.EntryByID(ctx, w.kind, w.name)
		found := err == nil
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return out, fmt.Errorf("read quota: %w", err)
		}
		if err := d.free(ctx, &w, found); err != nil {
			return out, err
		}
		e := store.Entry{Kind: w.kind, ID: w.name, Key: w.key(), Value: w.value}
		switch {
		case found && now.Key == e.Key:
			e.Revision = now.Revision
		case found: // another path
			out.Deletes = []store.Ref{{Kind: w.kind, ID: w.name}}
		}
		out.Puts = append(out.Puts, e)
		return out, d.touch(ctx, w.kind, &out, r, "sys/quotas/"+segment(w.kind)+"/"+w.name)
	})
	return d.done(ctx, err)
}

// free refuses a path that has another quota, and a quota too many.
func (d *Desk) free(ctx context.Context, w *wanted, found bool) error {
	other, err := d.store.Entry(ctx, w.kind, w.key())
	switch {
	case err == nil && other.ID != w.name:
		return wire.Invalid("quota rule with similar properties exists under the name %q", other.ID)
	case err != nil && !errors.Is(err, store.ErrNotFound):
		return fmt.Errorf("read quota: %w", err)
	}
	if found {
		return nil
	}
	all, err := d.store.List(ctx, w.kind, "", "", false, maxQuotas)
	if err != nil {
		return fmt.Errorf("list quotas: %w", err)
	}
	if len(all) >= maxQuotas {
		return wire.Invalid("there are %d quotas already: delete one first", maxQuotas)
	}
	return nil
}

// touch adds what each change of a quota commits beside it.
func (d *Desk) touch(ctx context.Context, kind store.Kind, w *store.Write, r *request.Request, subject string) error {
	w.Events = append(w.Events, r.Changed(subject), r.Event(http.StatusNoContent))
	if kind != store.KindRateQuota {
		return nil
	}
	_, e, err := readSettings(ctx, d.store)
	w.Puts = append(w.Puts, e)
	return err
}

// done answers a change, and has it in force here at once.
func (d *Desk) done(ctx context.Context, err error) (*wire.Answer, error) {
	if err != nil {
		return nil, fmt.Errorf("write quota: %w", err)
	}
	if err := d.refresh(ctx); err != nil {
		d.log.Warn().Err(err).Msg("a changed quota is in force a little later")
	}
	return wire.Done(), nil
}

// remove deletes a quota; one that is not there is as good as deleted.
func (d *Desk) remove(ctx context.Context, r *request.Request, kind store.Kind, name string) (*wire.Answer, error) {
	err := store.Change(ctx, d.store, func() (store.Write, error) {
		w := store.Write{Deletes: []store.Ref{{Kind: kind, ID: name}}}
		return w, d.touch(ctx, kind, &w, r, "sys/quotas/"+segment(kind)+"/"+name)
	})
	return d.done(ctx, err)
}

// list answers the names of a kind.
func (d *Desk) list(ctx context.Context, kind store.Kind) (*wire.Answer, error) {
	all, err := d.store.List(ctx, kind, "", "", false, maxQuotas+1)
	if err != nil {
		return nil, fmt.Errorf("list quotas: %w", err)
	}
	if len(all) == 0 {
		return nil, wire.Nothing()
	}
	names := make([]string, len(all))
	for i, e := range all {
		names[i] = e.ID
	}
	slices.Sort(names)
	return wire.OK(map[string]any{"keys": names}), nil
}

// one reads a quota.
func (d *Desk) one(ctx context.Context, kind store.Kind, name string) (store.Entry, error) {
	e, err := d.store.EntryByID(ctx, kind, name)
	if errors.Is(err, store.ErrNotFound) {
		return e, wire.Nothing()
	}
	if err != nil {
		return e, fmt.Errorf("read quota: %w", err)
	}
	return e, nil
}

// shape is what look-ups of both kinds show.
func shape(e *store.Entry) map[string]any {
	return map[string]any{
		"type": segment(e.Kind), "name": e.ID, "path": strings.TrimPrefix(e.Key, "/"), "role": "", "inheritable": false,
	}
}

// segment is the kind in paths.
func segment(kind store.Kind) string {
	if kind == store.KindRateQuota {
		return "rate-limit"
	}
	return "lease-count"
}

// ReadConfig serves GET sys/quotas/config.
func (d *Desk) ReadConfig(ctx context.Context, _ *request.Request) (*wire.Answer, error) {
	s, _, err := readSettings(ctx, d.store)
	if err != nil {
		return nil, err
	}
	if s.Exempt == nil {
		s.Exempt = []string{}
	}
	return wire.OK(map[string]any{
		"rate_limit_exempt_paths": s.Exempt, "absolute_rate_limit_exempt_paths": []string{},
		"enable_rate_limit_response_headers": s.Headers, "enable_rate_limit_audit_logging": true,
	}), nil
}

// WriteConfig serves PUT and POST sys/quotas/config.
func (d *Desk) WriteConfig(ctx context.Context, r *request.Request) (*wire.Answer, error) {
	f := r.Fields()
	if f.Has("absolute_rate_limit_exempt_paths") {
		if all, err := f.Strings("absolute_rate_limit_exempt_paths"); err != nil || len(all) > 0 {
			return nil, wire.Invalid("there are no namespaces: use rate_limit_exempt_paths")
		}
	}
	if logs, err := f.Bool("enable_rate_limit_audit_logging", true); err != nil || !logs {
		return nil, wire.Invalid("requests refused by a rate limit are always counted in the audit log")
	}
	err := store.Change(ctx, d.store, func() (store.Write, error) {
		s, e, err := readSettings(ctx, d.store)
		if err != nil {
			return store.Write{}, err
		}
		if s.Headers, err = f.Bool("enable_rate_limit_response_headers", s.Headers); err != nil {
			return store.Write{}, err
		}
		if f.Has("rate_limit_exempt_paths") {
			if s.Exempt, err = f.Strings("rate_limit_exempt_paths"); err != nil {
				return store.Write{}, err
			}
		}
		for i, path := range s.Exempt {
			s.Exempt[i] = strings.TrimPrefix(path, "/")
		}
		if e.Value, err = json.Marshal(s); err != nil {
			return store.Write{}, fmt.Errorf("encode the settings of quotas: %w", err)
		}
		return store.Write{Puts: []store.Entry{e}, Events: []event.Event{r.Changed("sys/quotas/config"), r.Event(http.StatusNoContent)}}, nil
	})
	return d.done(ctx, err)
}
