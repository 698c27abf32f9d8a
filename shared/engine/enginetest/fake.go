package enginetest

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/secret"
	"github.com/curfew-project/curfew/shared/store"
)

// FakeConfig shapes a [Fake]; the zero value works.
type FakeConfig struct {
	Type  string      // "database"
	Clock clock.Clock // the target's clock; the system's by default
	Grace time.Duration
}

// Fake is an engine whose targets are maps. It keeps its state over any
// number of engines made of it: use one Fake as "the target that survives".
type Fake struct {
	cfg FakeConfig

	mu      sync.Mutex
	targets map[string]*fakeTarget
	roles   map[string]FakeRole
	values  map[string]map[string]any // what Handle was given, by mount and path
	faults  []*Fault
	calls   map[Method]int
	ended   []string // mounts that Disabled was called for
	serial  int
}

// FakeRole is a role of a [Fake]: what Plan answers for creds/<name>.
type FakeRole struct {
	MountID string
	Target  string // made by AddTarget
	Limits  lease.TTLs
	Guard   []store.Ref
	// Refused: the target refuses every creation.
	Refused      bool
	NotRenewable bool
	Warnings     []string
	TargetOffset time.Duration
}

type fakeTarget struct {
	engine.Target
	mark     string
	accounts map[string]*fakeAccount
}

type fakeAccount struct {
	id       int
	password string
	ours     bool
	login    bool
	until    time.Time // zero: never
	made     time.Time
	sessions map[*fakeSession]struct{}
}

// NewFake returns a fake without targets and roles.
func NewFake(cfg FakeConfig) *Fake {
	cfg.Type = cmp.Or(cfg.Type, "database")
	cfg.Grace = cmp.Or(cfg.Grace, 10*time.Second)
	if cfg.Clock == nil {
		cfg.Clock = clock.System{}
	}
	return &Fake{
		cfg: cfg, targets: map[string]*fakeTarget{}, roles: map[string]FakeRole{},
		values: map[string]map[string]any{}, calls: map[Method]int{},
	}
}

// AddTarget makes a target; its ID is what leases bear.
func (f *Fake) AddTarget(t engine.Target) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.targets[t.ID] = &fakeTarget{Target: t, accounts: map[string]*fakeAccount{}}
}

// AddRole makes or replaces a role.
func (f *Fake) AddRole(name string, r FakeRole) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.roles[r.MountID+"/"+name] = r
}

// Type implements [engine.Engine].
func (f *Fake) Type() string { return f.cfg.Type }

// Handle implements [engine.Configurer]: it keeps what is written below
// config/ and roles/ and gives it back; other paths are unsupported.
func (f *Fake) Handle(ctx context.Context, r *engine.Request) (*engine.Response, error) {
	var out *engine.Response
	err := f.call(ctx, MethodHandle, "", func() error {
		var err error
		out, err = f.handle(r)
		return err
	})
	return out, err
}

func (f *Fake) handle(r *engine.Request) (*engine.Response, error) {
	kind, name, _ := strings.Cut(r.Path, "/")
	if kind != "config" && kind != "roles" {
		return nil, &engine.Error{Kind: engine.UnsupportedPath, Message: "1 error occurred:\n\t* unsupported path\n\n"}
	}
	key := r.MountID + "/" + r.Path
	switch {
	case r.Operation == engine.List && name == "":
		return f.list(r.MountID+"/"+kind+"/", r.After, r.Limit)
	case r.Operation == engine.Write && name != "":
		f.values[key] = r.Data
		return nil, nil
	case r.Operation == engine.Delete && name != "":
		delete(f.values, key)
		return nil, nil
	case r.Operation == engine.Read && name != "":
		if v, ok := f.values[key]; ok {
			return &engine.Response{Data: v}, nil
		}
		return nil, &engine.Error{Kind: engine.NotFound}
	}
	return nil, &engine.Error{Kind: engine.UnsupportedOperation, Message: "1 error occurred:\n\t* unsupported operation\n\n"}
}

func (f *Fake) list(prefix, after string, limit int) (*engine.Response, error) {
	keys := []string{}
	for key := range f.values {
		if name, ok := strings.CutPrefix(key, prefix); ok && name > after {
			keys = append(keys, name)
		}
	}
	if len(keys) == 0 {
		return nil, &engine.Error{Kind: engine.NotFound}
	}
	slices.Sort(keys)
	if limit > 0 && len(keys) > limit {
		keys = keys[:limit]
	}
	return &engine.Response{Data: map[string]any{"keys": keys}}, nil
}

// Exists implements [engine.Finder].
func (f *Fake) Exists(_ context.Context, r *engine.Request) (exists, known bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	kind, name, _ := strings.Cut(r.Path, "/")
	_, exists = f.values[r.MountID+"/"+r.Path]
	return exists, name != "" && (kind == "config" || kind == "roles"), nil
}

// Plan implements [engine.Configurer] for creds/<role>.
func (f *Fake) Plan(ctx context.Context, r *engine.Request) (*engine.Plan, error) {
	role, ok := strings.CutPrefix(r.Path, "creds/")
	if !ok {
		return nil, nil
	}
	var out *engine.Plan
	err := f.call(ctx, MethodPlan, "", func() error {
		var err error
		out, err = f.plan(r, role)
		return err
	})
	return out, err
}

func (f *Fake) plan(r *engine.Request, name string) (*engine.Plan, error) {
	role, ok := f.roles[r.MountID+"/"+name]
	if !ok {
		return nil, &engine.Error{Kind: engine.Invalid, Message: "unknown role: " + name}
	}
	frozen, err := json.Marshal(role)
	if err != nil {
		return nil, fmt.Errorf("encode plan: %w", err)
	}
	id := string(r.LeaseID)
	return &engine.Plan{
		Role: name, Target: role.Target, Account: "v-fake-" + name + "-" + id[strings.LastIndexByte(id, '/')+1:],
		Frozen: frozen, Limits: role.Limits, Renewable: !role.NotRenewable, Grace: f.cfg.Grace,
		TargetOffset: role.TargetOffset, Guard: role.Guard, Warnings: role.Warnings,
		Secret: secret.New(lease.RandomBase62(24)),
	}, nil
}

// Disabled implements [engine.Configurer]; [Fake.Ended] tells of it.
func (f *Fake) Disabled(ctx context.Context, mountID string) error {
	return f.call(ctx, MethodDisabled, "", func() error {
		f.ended = append(f.ended, mountID)
		return nil
	})
}

var (
	_ engine.Engine  = (*Fake)(nil)
	_ engine.Sweeper = (*Fake)(nil)
	_ engine.Marker  = (*Fake)(nil)
)

// Help implements [engine.Helper].
func (*Fake) Help() []engine.Help {
	return []engine.Help{
		{Path: "", Synopsis: "Credentials of a target that is a model.", Text: "It stands for a real engine in tests."},
		{Path: "config", Synopsis: "The names of connections."},
		{Path: "config/…", Synopsis: "A connection, kept as it was written."},
		{Path: "roles", Synopsis: "The names of roles."},
		{Path: "roles/…", Synopsis: "A role, kept as it was written."},
		{Path: "creds/…", Synopsis: "A credential, and its lease."},
	}
}

var _ engine.Helper = (*Fake)(nil)
