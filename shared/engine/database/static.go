package database

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/engine/database/internal/postgres"
	"github.com/curfew-project/curfew/shared/engine/database/internal/scram"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/secret"
	"github.com/curfew-project/curfew/shared/store"
)

// minPeriod is the shortest rotation_period, as on stock servers.
const minPeriod = 5 * time.Second

// staticRole is the value of an entry of [store.KindStaticRole]: an account that
// people made and whose password Curfew keeps (B11).
//
//	         (1) Pending        (2) the target   (3) proof
//	Current ───────────▶ Current,  ─────────▶ Current,  ──▶ Pending becomes
//	                     Pending              Pending       Current (4)
//
// While Pending is there, either of the two may be the one that works, and
// neither is forgotten.
type staticRole struct {
	Name    string `json:"name"`
	Mount   string `json:"mount"` // path, as of the last write
	MountID string `json:"mount_id"`
	ID      string `json:"id"` // of the entry; what the passwords are sealed to

	DBName     string        `json:"db_name"`
	Username   string        `json:"username"`
	Period     time.Duration `json:"rotation_period"`
	Statements []string      `json:"rotation_statements,omitempty"` // as they were written
	Policy     string        `json:"password_policy,omitempty"`     // name; empty: the connection's
	// SystemID is the system on which the account was found (C6).
	SystemID string `json:"system_id"`

	// Sealed.
	Current []byte `json:"sealed_current,omitempty"`
	Pending []byte `json:"sealed_pending,omitempty"`

	// Begun is when Pending was last taken up, LastRotation when Current was
	// proved; both by the store's clock.
	Begun        time.Time     `json:"begun,omitzero"`
	LastRotation time.Time     `json:"last_rotation,omitzero"`
	Failure      staticFailure `json:"failure,omitzero"`
}

// staticFailure is what went wrong since the last rotation that succeeded.
type staticFailure struct {
	Attempts int       `json:"attempts"`
	Error    string    `json:"error"`
	At       time.Time `json:"at"`
	// RetryAt is when the next attempt makes sense; zero: as soon as the target
	// answers.
	RetryAt time.Time `json:"retry_at,omitzero"`
	// Connection is the revision of the connection that failed: another one is
	// tried at once (C8).
	Connection string `json:"connection,omitempty"`
}

// storedStatic is a static role with the entry that holds it.
type storedStatic struct {
	staticRole
	entry store.Entry
}

// claim is the value of an entry of [store.KindStaticAccount]: whose an account
// is.
type claim struct {
	Role string `json:"role"` // path
}

func (s *staticRole) path() string { return s.Mount + "static-roles/" + s.Name }

func (s *staticRole) claimKey() string { return s.SystemID + "/" + s.Username }

func (s *staticRole) context() string { return "database static role " + s.ID + " " + fieldPassword }

// next is when the password is to be replaced by rule.
func (s *staticRole) next() time.Time { return s.LastRotation.Add(s.Period) }

// due is when somebody has to look at the role. A rotation that is under way is
// left alone for as long as it may take. connection is the revision of its
// connection now.
func (s *staticRole) due(connection string, within time.Duration) time.Time {
	f := s.Failure
	stopped := f.Attempts > 0 && !f.At.Before(s.Begun)
	if !stopped && len(s.Pending) > 0 {
		return s.Begun.Add(within)
	}
	var at time.Time
	if len(s.Pending) == 0 && !s.LastRotation.IsZero() {
		at = s.next()
	}
	if f.Attempts > 0 && f.Connection == connection && f.RetryAt.After(at) {
		at = f.RetryAt
	}
	return at
}

func decodeStatic(e store.Entry) (*storedStatic, error) {
	s := &storedStatic{entry: e}
	if err := json.Unmarshal(e.Value, &s.staticRole); err != nil {
		return nil, &engine.Error{Kind: engine.Internal, Message: "a stored static role cannot be read", Err: err}
	}
	return s, nil
}

// staticByName returns a static role, or nil.
func (e *Engine) staticByName(ctx context.Context, mountID, name string) (*storedStatic, error) {
	entry, err := e.store.Entry(ctx, store.KindStaticRole, mountID+"/"+name)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, storeError("read static role", err)
	}
	return decodeStatic(entry)
}

var errNoStatic = &engine.Error{Kind: engine.NotFound, Message: "the static role was deleted"}

func (e *Engine) staticByID(ctx context.Context, id string) (*storedStatic, error) {
	entry, err := e.store.EntryByID(ctx, store.KindStaticRole, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil, errNoStatic
	}
	if err != nil {
		return nil, storeError("read static role", err)
	}
	return decodeStatic(entry)
}

func (e *Engine) sealStatic(s *staticRole, password secret.Value) ([]byte, error) {
	b, err := e.sealer.Seal([]byte(password.Reveal()), s.context())
	if err != nil {
		return nil, &engine.Error{Kind: engine.Internal, Message: "the password could not be sealed", Err: err}
	}
	return b, nil
}

// staticPasswords opens both; either may be empty.
func (e *Engine) staticPasswords(s *staticRole) (current, pending secret.Value, err error) {
	var out [2]secret.Value
	for n, sealed := range [][]byte{s.Current, s.Pending} {
		if len(sealed) == 0 {
			continue
		}
		b, err := e.sealer.Open(sealed, s.context())
		if err != nil {
			return current, pending, &engine.Error{
				Kind: engine.Internal, Message: "the password of static role " + s.Name + " could not be unsealed", Err: err,
			}
		}
		out[n] = secret.New(string(b))
	}
	return out[0], out[1], nil
}

func (s *storedStatic) encoded() (store.Entry, error) {
	value, err := json.Marshal(&s.staticRole)
	if err != nil {
		return store.Entry{}, fmt.Errorf("encode static role: %w", err)
	}
	entry := s.entry
	entry.Kind, entry.Key, entry.ID, entry.Value = store.KindStaticRole, s.MountID+"/"+s.Name, s.ID, value
	return entry, nil
}

// editStatic changes a static role as often as another change comes between.
// change returns the event of the change, nil where there is nothing to write.
func (e *Engine) editStatic(ctx context.Context, id string, change func(*storedStatic) (*event.Event, error)) error {
	for n := 0; ; n++ {
		s, err := e.staticByID(ctx, id)
		if err != nil {
			return err
		}
		ev, err := change(s)
		if err != nil || ev == nil {
			return err
		}
		entry, err := s.encoded()
		if err != nil {
			return err
		}
		_, err = e.store.Write(ctx, store.Write{Puts: []store.Entry{entry}, Events: []event.Event{*ev}})
		if errors.Is(err, store.ErrRevision) && n < tries {
			continue
		}
		if err != nil {
			return storeError("store static role", err)
		}
		return nil
	}
}

// edited is the event of a change of the role.
func (s *staticRole) edited(by lease.Actor, op engine.Operation, reason string, data map[string]any) *event.Event {
	ev := changed(by, s.Mount, "static-roles/"+s.Name, op, reason, data)
	return &ev
}

// rotated is the event of a rotation; nothing in it is secret.
func (s *staticRole) rotated(kind event.Type, by lease.Actor, reason, target string) *event.Event {
	return &event.Event{Type: kind, Subject: s.path(), Data: event.Data{
		Actor: by, Reason: reason, Mount: s.Mount, Role: s.Name, Target: target, Account: s.Username, Path: s.path(),
	}}
}

// storeNow is the store's clock, the only one for rotations (A5).
func (e *Engine) storeNow(ctx context.Context) (time.Time, error) {
	now, err := e.store.Now(ctx)
	if err != nil {
		return now, storeError("read the store's clock", err)
	}
	return now, nil
}

// change is the new password as the target is to be told.
func (s *staticRole) change(c *connection, password secret.Value, until time.Time) postgres.NewPassword {
	return postgres.NewPassword{
		Account: s.Username, Password: password, Statements: s.Statements,
		Authentication: c.authentication(), Until: until,
		// It is done rarely: there is nothing to save by fewer (B10).
		Iterations: max(c.Iterations, scram.DefaultIterations),
	}
}

// mountThere reports whether a mount is there and not being disabled.
func (e *Engine) mountThere(ctx context.Context, id string) (bool, error) {
	m, err := e.store.EntryByID(ctx, store.KindMount, id)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, storeError("read mount", err)
	}
	return !m.Withdrawn, nil
}
