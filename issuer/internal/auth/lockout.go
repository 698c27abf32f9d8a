package auth

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/curfew-project/curfew/issuer/internal/wire"
	"github.com/curfew-project/curfew/shared/store"
)

// LockoutConfig says when failed logins lock an alias. A number that is not
// positive takes the default, in a mount's settings the server's value.
type LockoutConfig struct {
	Threshold int           `json:"lockout_threshold,omitempty"`              // failures that lock; 5
	Duration  time.Duration `json:"lockout_duration,omitempty"`               // of the lock; 15 min
	Reset     time.Duration `json:"lockout_counter_reset_duration,omitempty"` // a count this old is forgotten; 15 min
	Off       bool          `json:"lockout_disable,omitempty"`
}

const (
	// attempts at a count that lost against logins which succeeded.
	attempts = 8
	// page is how many entries one call reads.
	page = 500
)

// The defaults of a [LockoutConfig].
const (
	DefaultLockoutThreshold = 5
	DefaultLockoutDuration  = 15 * time.Minute
)

// over is c with what it leaves open taken from base.
func (c LockoutConfig) over(base LockoutConfig) LockoutConfig {
	return LockoutConfig{
		Threshold: cmp.Or(max(c.Threshold, 0), base.Threshold), Duration: cmp.Or(max(c.Duration, 0), base.Duration),
		Reset: cmp.Or(max(c.Reset, 0), base.Reset), Off: c.Off || base.Off,
	}
}

// set takes what f names.
func (c *LockoutConfig) set(f wire.Fields) (err error) {
	if f.Has("lockout_threshold") {
		if c.Threshold, err = f.Int("lockout_threshold"); err != nil {
			return err
		}
	}
	if f.Has("lockout_duration") {
		if c.Duration, err = f.Duration("lockout_duration"); err != nil {
			return err
		}
	}
	if f.Has("lockout_counter_reset_duration") {
		if c.Reset, err = f.Duration("lockout_counter_reset_duration"); err != nil {
			return err
		}
	}
	c.Off, err = f.Bool("lockout_disable", c.Off)
	return err
}

func (c LockoutConfig) shape() map[string]any {
	return map[string]any{
		"lockout_threshold": c.Threshold, "lockout_duration": wire.Seconds(c.Duration),
		"lockout_counter_reset_duration": wire.Seconds(c.Reset), "lockout_disable": c.Off,
	}
}

// LockoutStore is what a [Lockout] needs of the store.
type LockoutStore interface {
	Entry(ctx context.Context, kind store.Kind, key string) (store.Entry, error)
	List(ctx context.Context, kind store.Kind, prefix, after string, withdrawn bool, limit int) ([]store.Entry, error)
	Write(ctx context.Context, w store.Write) ([]store.Entry, error)
	Now(ctx context.Context) (time.Time, error)
}

// Lockout counts failed logins of aliases in the store. A count is one entry;
// the time of the last failure is that of the entry's last edit, by the
// store's clock, so that all issuers agree on it (A5).
//
// Guesses that are in flight at once are all judged before the first of them is
// counted: what is bounded is the threshold plus the requests in flight.
type Lockout struct {
	store LockoutStore
	cfg   LockoutConfig
}

// NewLockout returns the counter.
func NewLockout(s LockoutStore, cfg LockoutConfig) *Lockout {
	return &Lockout{store: s, cfg: cfg.over(LockoutConfig{
		Threshold: DefaultLockoutThreshold, Duration: DefaultLockoutDuration, Reset: DefaultLockoutDuration,
	})}
}

// Tries is what the store knows of an alias' failed logins.
type Tries struct {
	// Locked: no login is to succeed.
	Locked bool
	off    bool
	cfg    LockoutConfig
	entry  store.Entry
	failed int // that count now
}

// count is the value of an entry.
type count struct {
	Failed int `json:"failed"`
}

// Forget is what a login that succeeds deletes in a commit of its own choice;
// empty where nothing has failed.
func (t *Tries) Forget() []store.Ref {
	if t.entry.Revision == 0 {
		return nil
	}
	return []store.Ref{{Kind: store.KindLockout, ID: t.entry.ID}}
}

// LockoutRef is the count of an alias, for whoever deletes the alias.
func LockoutRef(m Mount, alias string) store.Ref {
	return store.Ref{Kind: store.KindLockout, ID: aliasKey(m, alias)}
}

// aliasKey has the alias as a hash: it is chosen by clients, of any length.
func aliasKey(m Mount, alias string) string {
	sum := sha256.Sum256([]byte(alias))
	return m.ID + "/" + hex.EncodeToString(sum[:])
}

// Look reads the state of an alias, which must exist.
func (l *Lockout) Look(ctx context.Context, m Mount, alias string) (Tries, error) {
	key := aliasKey(m, alias)
	t := Tries{cfg: m.Lockout.over(l.cfg), entry: store.Entry{Kind: store.KindLockout, Key: key, ID: key}}
	if t.off = t.cfg.Off; t.off {
		return t, nil
	}
	e, err := l.store.Entry(ctx, store.KindLockout, key)
	if errors.Is(err, store.ErrNotFound) {
		return t, nil
	}
	if err != nil {
		return t, fmt.Errorf("count failed logins: %w", err)
	}
	t.entry = e
	var c count
	if err := json.Unmarshal(e.Value, &c); err != nil {
		return t, fmt.Errorf("decode count of failed logins: %w", err)
	}
	now, err := l.store.Now(ctx)
	if err != nil {
		return t, fmt.Errorf("count failed logins: %w", err)
	}
	age := now.Sub(e.ChangedAt)
	switch {
	case c.Failed >= t.cfg.Threshold:
		// A lock that has ended leaves nothing behind.
		if t.Locked = age < t.cfg.Duration; t.Locked {
			t.failed = c.Failed
		}
	case age < t.cfg.Reset:
		t.failed = c.Failed
	}
	return t, nil
}

// Failed counts one failed login, and returns once it is counted or the alias
// is locked. Each commit that it loses to is another failure counted, so that
// it is over after as many as lock; more are lost only to logins that succeed.
func (l *Lockout) Failed(ctx context.Context, m Mount, alias string) error {
	for try := 0; ; try++ {
		t, err := l.Look(ctx, m, alias)
		if err != nil || t.off || t.Locked {
			return err
		}
		if try > t.cfg.Threshold+attempts {
			return wire.Unavailable(nil, "too many logins at the same time: try again")
		}
		put := t.entry
		if put.Value, err = json.Marshal(count{Failed: t.failed + 1}); err != nil {
			return fmt.Errorf("encode count of failed logins: %w", err)
		}
		_, err = l.store.Write(ctx, store.Write{Puts: []store.Entry{put}})
		if err == nil {
			return nil
		}
		if !errors.Is(err, store.ErrRevision) && !errors.Is(err, store.ErrExists) {
			return fmt.Errorf("count failed logins: %w", err)
		}
	}
}

// Tidy deletes the counts of a mount that are over.
func (l *Lockout) Tidy(ctx context.Context, m Mount) error {
	cfg := m.Lockout.over(l.cfg)
	now, err := l.store.Now(ctx)
	if err != nil {
		return fmt.Errorf("tidy counts of failed logins: %w", err)
	}
	return Clear(ctx, l.store, store.KindLockout, m.ID+"/", func(e store.Entry) bool {
		return now.Sub(e.ChangedAt) >= max(cfg.Duration, cfg.Reset)
	})
}

// Clearer is what [Clear] needs of the store.
type Clearer interface {
	List(ctx context.Context, kind store.Kind, prefix, after string, withdrawn bool, limit int) ([]store.Entry, error)
	Write(ctx context.Context, w store.Write) ([]store.Entry, error)
}

// Clear deletes the entries of a kind below prefix, withdrawn ones too, that
// are dead; a page is one commit.
func Clear(ctx context.Context, s Clearer, kind store.Kind, prefix string, dead func(store.Entry) bool) error {
	for _, withdrawn := range []bool{false, true} {
		for after := ""; ; {
			entries, err := s.List(ctx, kind, prefix, after, withdrawn, page)
			if err != nil {
				return fmt.Errorf("list %s: %w", kind, err)
			}
			var refs []store.Ref
			for _, e := range entries {
				if dead(e) {
					refs = append(refs, store.Ref{Kind: kind, ID: e.ID})
				}
			}
			if len(refs) > 0 {
				if _, err := s.Write(ctx, store.Write{Deletes: refs}); err != nil {
					return fmt.Errorf("delete %s: %w", kind, err)
				}
			}
			if len(entries) < page {
				break
			}
			after = entries[len(entries)-1].Key
		}
	}
	return nil
}
