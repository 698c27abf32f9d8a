package database

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/engine/database/internal/postgres"
	"github.com/curfew-project/curfew/shared/engine/database/internal/sqltext"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

const (
	// refreshEvery is the default of shared_grants_refresh.
	refreshEvery = time.Hour
	// minRefresh is the least: it takes the locks that every grant takes.
	minRefresh = time.Minute
)

// group is the value of an entry of [store.KindGroupRole]: a role in a target
// that holds what the statements of a role grant on objects (shared_grants).
//
//	recorded ──▶ made ──▶ refreshed … ──▶ withdrawn ──▶ dropped, entry deleted
//	   │ the role was edited or deleted; no lease names it │
//	   └───────────────────────────────────────────────────┘
//
// The entry is there before the role and until after it (B1). What is granted
// never changes: other statements, another server or database are another group.
type group struct {
	Name    string `json:"name"` // in the target
	Mount   string `json:"mount"`
	MountID string `json:"mount_id"`
	Role    string `json:"role"`
	RoleID  string `json:"role_id"`

	Connection string `json:"connection"` // id
	SystemID   string `json:"system_id"`  // of the server on which it is (C6)
	Database   string `json:"database"`   // in which it is granted everything

	Statements []string `json:"statements"`
	Numbers    []int    `json:"numbers"` // of the statements in the role

	// Made is when it was seen first with all its grants, Refreshed when last;
	// both by the store's clock.
	Made time.Time `json:"made,omitzero"`
	// Until, by the store's clock, is when each making that was begun, by whomever,
	// has happened or never will. The entry stays until then (B1): that one has
	// succeeded says nothing of another.
	Until     time.Time    `json:"until,omitzero"`
	Refreshed time.Time    `json:"refreshed,omitzero"`
	Failure   groupFailure `json:"failure,omitzero"`
}

// groupFailure is what went wrong on schedule since the last success.
type groupFailure struct {
	Attempts int       `json:"attempts"`
	Error    string    `json:"error"`
	At       time.Time `json:"at"`
	Since    time.Time `json:"since"`
	RetryAt  time.Time `json:"retry_at,omitzero"` // zero: as soon as the target answers
	// Config is the revision of the connection and the role that failed: another
	// one is tried at once (C8).
	Config string `json:"config,omitempty"`
}

// storedGroup is a group with the entry that holds it.
type storedGroup struct {
	group
	entry store.Entry
}

// groups is what this process knows of group roles. Losing it loses nothing.
type groups struct {
	mu sync.Mutex
	// kept are the groups that somebody is making or refreshing.
	kept map[string]chan struct{}
	// read is how far the leases were read of which one might need a group.
	read map[string]lease.ID
}

// enter waits until nobody else in this process works on a group.
func (g *groups) enter(ctx context.Context, id string) (leave func(), err error) {
	for {
		g.mu.Lock()
		busy := g.kept[id]
		if busy == nil {
			done := make(chan struct{})
			g.kept[id] = done
			g.mu.Unlock()
			return func() {
				g.mu.Lock()
				defer g.mu.Unlock()
				delete(g.kept, id)
				close(done)
			}, nil
		}
		g.mu.Unlock()
		select {
		case <-busy:
		case <-ctx.Done():
			return nil, &engine.Error{Kind: engine.Busy, Message: "the group role is being made by others", After: time.Second, Err: ctx.Err()}
		}
	}
}

func (r *role) refresh() time.Duration {
	if r.Refresh == nil {
		return refreshEvery
	}
	return *r.Refresh
}

// share splits the role's creation statements.
func (r *role) share() (own, shared sqltext.Script, err error) {
	s, err := r.scripts()
	if err == nil {
		if own, shared, err = s.Creation.Share(); err != nil {
			err = invalid(err.Error())
		}
	}
	return own, shared, err
}

// database is the one that the connection logs in to; "" where that cannot be
// told.
func (c *connection) database() string {
	plain := strings.NewReplacer(usernameVariable, "u", passwordVariable, "p").Replace(c.URL)
	config, err := pgconn.ParseConfig(plain)
	if err != nil {
		return ""
	}
	return config.Database
}

// newGroup is the group of a role as role and connection are now; its entry has
// the key, and nothing else yet.
func (r *role) newGroup(entry store.Entry, c *stored) (*storedGroup, error) {
	_, shared, err := r.share()
	if err != nil {
		return nil, err
	}
	g := &storedGroup{group: group{
		Mount: c.Mount, MountID: c.MountID, Role: r.Name, RoleID: entry.ID, Connection: c.entry.ID,
		SystemID: c.Identity.SystemID, Database: c.database(), Statements: shared.Sources(), Numbers: shared.Numbers(),
	}}
	h := sha256.New()
	for _, text := range append([]string{g.SystemID, g.Database}, g.Statements...) {
		_, _ = fmt.Fprintf(h, "%d:%s", len(text), text) // a hash never fails
	}
	const enough = 16 // bytes
	g.entry.Kind, g.entry.Key = store.KindGroupRole, g.Connection+"/"+g.RoleID+"/"+hex.EncodeToString(h.Sum(nil)[:enough])
	return g, nil
}

func decodeGroup(e store.Entry) (*storedGroup, error) {
	g := &storedGroup{entry: e}
	if err := json.Unmarshal(e.Value, &g.group); err != nil {
		return nil, &engine.Error{Kind: engine.Internal, Message: "a stored group role cannot be read", Err: err}
	}
	return g, nil
}

func (g *storedGroup) encoded() (store.Entry, error) {
	value, err := json.Marshal(&g.group)
	if err != nil {
		return store.Entry{}, fmt.Errorf("encode group role: %w", err)
	}
	entry := g.entry
	entry.Value = value
	return entry, nil
}

var errNoGroup = &engine.Error{
	Kind: engine.Conflict, Message: "the role or its connection was changed at the same time: try again",
}

// groupByID returns a group, withdrawn or not, or errNoGroup.
func (e *Engine) groupByID(ctx context.Context, id string) (*storedGroup, error) {
	entry, err := e.store.EntryByID(ctx, store.KindGroupRole, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil, errNoGroup
	}
	if err != nil {
		return nil, storeError("read group role", err)
	}
	return decodeGroup(entry)
}

// groupByKey returns the group that is not withdrawn, or nil.
func (e *Engine) groupByKey(ctx context.Context, key string) (*storedGroup, error) {
	entry, err := e.store.Entry(ctx, store.KindGroupRole, key)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, storeError("read group role", err)
	}
	return decodeGroup(entry)
}

// eachGroup calls do for the groups of a connection, of all where id is empty,
// also those that are withdrawn.
func (e *Engine) eachGroup(ctx context.Context, id string, do func(*storedGroup) error) error {
	prefix := ""
	if id != "" {
		prefix = id + "/"
	}
	for _, withdrawn := range []bool{false, true} {
		err := each(ctx, e.store, store.KindGroupRole, prefix, withdrawn, func(entry store.Entry) error {
			g, err := decodeGroup(entry)
			if err != nil {
				return err
			}
			return do(g)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// groupNames are the names of all groups that are on record.
func (e *Engine) groupNames(ctx context.Context) (map[string]bool, error) {
	out := map[string]bool{}
	err := e.eachGroup(ctx, "", func(g *storedGroup) error {
		out[g.Name] = true
		return nil
	})
	return out, err
}

// grouped reports whether a connection has groups on record: as long as it has,
// its credential is needed.
func (e *Engine) grouped(ctx context.Context, id string) (bool, error) {
	found := false
	err := e.eachGroup(ctx, id, func(*storedGroup) error {
		found = true
		return nil
	})
	return found, err
}

// editGroup changes a group as often as another change comes between. change
// returns the event of the change, nil where there is nothing to write.
func (e *Engine) editGroup(ctx context.Context, id string, change func(*storedGroup) (*event.Event, error)) (*storedGroup, error) {
	for n := 0; ; n++ {
		g, err := e.groupByID(ctx, id)
		if err != nil {
			return nil, err
		}
		ev, err := change(g)
		if err != nil || ev == nil {
			return g, err
		}
		entry, err := g.encoded()
		if err != nil {
			return nil, err
		}
		out, err := e.store.Write(ctx, store.Write{Puts: []store.Entry{entry}, Events: []event.Event{*ev}})
		if errors.Is(err, store.ErrRevision) && n < tries {
			continue
		}
		if err != nil {
			return nil, storeError("store group role", err)
		}
		g.entry = out[0]
		return g, nil
	}
}

// told is an event of the group.
func (g *group) told(kind event.Type, by lease.Actor, reason string) *event.Event {
	path := g.Mount + "roles/" + g.Role
	return &event.Event{Type: kind, Subject: path, Data: event.Data{
		Actor: by, Reason: reason, Mount: g.Mount, Role: g.Role, Target: g.Connection, Account: g.Name, Path: path,
	}}
}

// showGroup adds to what a role reads as.
func (e *Engine) showGroup(ctx context.Context, r *role, entry store.Entry, d map[string]any) error {
	mountID, _, _ := strings.Cut(entry.Key, "/")
	d["shared_grants"], d["shared_grants_refresh"] = true, int64(r.refresh()/time.Second)
	c, err := e.connectionByName(ctx, mountID, r.DBName)
	if err != nil || c == nil {
		return err
	}
	want, err := r.newGroup(entry, c)
	if err != nil {
		return err
	}
	g, err := e.groupByKey(ctx, want.entry.Key)
	if err != nil || g == nil {
		return err
	}
	d["shared_grants_role"] = g.Name
	if !g.Refreshed.IsZero() {
		d["shared_grants_refreshed"] = g.Refreshed.UTC()
	}
	if f := g.Failure; f.Attempts > 0 {
		d["shared_grants_error"], d["shared_grants_failures"], d["shared_grants_failed_at"] = f.Error, f.Attempts, f.At.UTC()
	}
	return nil
}

// statements are what the target is asked for.
func (g *group) kept() postgres.Group {
	return postgres.Group{Name: g.Name, Statements: g.Statements, Numbers: g.Numbers}
}
