package status

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/curfew-project/curfew/issuer/internal/wire"
	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/secret"
	"github.com/curfew-project/curfew/shared/store"
)

// Seal is what guards the secrets of the configuration.
type Seal interface {
	// Status says how things stand; it is quick and asks nobody.
	Status(ctx context.Context) (SealStatus, error)
	// Initialize makes the installation: its keys and its first root token. It
	// fails with [ErrInitialized], [ErrNotAllowed] or [ErrNoShares].
	Initialize(ctx context.Context, want InitRequest) (InitResult, error)
	// Shut seals the API of every issuer until somebody unseals it; the events
	// share its commit. One that is sealed stays so.
	Shut(ctx context.Context, events ...event.Event) error
	// Unseal opens what is sealed to who has the key. It fails with
	// [ErrNotInitialized], [ErrNoKey] or [ErrWrongKey]; one that is open stays so.
	// Of a key in shares it takes one share a call, and is sealed until there are
	// enough.
	Unseal(ctx context.Context, key secret.Value, by lease.Actor) error
	// Reset forgets the shares that were given.
	Reset()
	// Guard is what must not have been withdrawn where something is issued: a
	// seal withdraws it (A3). None before there is an installation.
	Guard() []store.Ref
}

// The errors of [Seal].
var (
	ErrInitialized    = errors.New("already initialized")
	ErrNotAllowed     = errors.New("initialization over the API is not allowed")
	ErrNotInitialized = errors.New("not initialized")
	ErrNoKey          = errors.New("that is no key")
	ErrWrongKey       = errors.New("that is not the key of this installation")
	ErrNoShares       = errors.New("the key stays in one piece, where the programs read it")
)

// SealStatus is the state of the seal.
type SealStatus struct {
	Type         string // "file", …
	Initialized  bool
	Sealed       bool
	Shares       int // of the key; 1 where it is in one piece
	Threshold    int
	Progress     int    // shares that were given
	Nonce        string // of the unsealing under way
	RecoverySeal bool   // unseals by itself
	StorageType  string
	ClusterName  string
	ClusterID    string
}

// InitRequest is what `operator init` asks for; zero is a key in one piece.
type InitRequest struct{ Shares, Threshold int }

// InitResult is what it prints once.
type InitResult struct {
	// Keys in hex and base64; none where the key stays in a file.
	Keys, KeysBase64 []secret.Value
	RootToken        secret.Value
}

// State is how things stand with the installation as a whole.
type State struct {
	Away      bool          // the store has not answered for some seconds
	Suspended bool          // the store is (A7)
	Doubted   bool          // a person has to confirm the installation (B3)
	Skew      time.Duration // largest difference of a process's clock to the store's
	Versions  []string      // of the processes that run, where they differ
}

// Standing knows the state. It asks nobody: what it says may be a second old.
type Standing interface {
	Standing() State
}

// Desk answers.
type Desk struct {
	seal     Seal
	standing Standing
	clock    clock.Clock
	version  string
}

// New returns a desk.
func New(s Seal, standing Standing, c clock.Clock, version string) *Desk {
	return &Desk{seal: s, standing: standing, clock: c, version: version}
}

// Sealed reports whether nothing can be served.
func (d *Desk) Sealed(ctx context.Context) (bool, error) {
	s, err := d.seal.Status(ctx)
	return err != nil || s.Sealed || !s.Initialized, err
}

type health struct {
	Initialized                bool   `json:"initialized"`
	Sealed                     bool   `json:"sealed"`
	Standby                    bool   `json:"standby"`
	ReplicationPerformanceMode string `json:"replication_performance_mode"`
	ReplicationDRMode          string `json:"replication_dr_mode"`
	ServerTimeUTC              int64  `json:"server_time_utc"`
	Version                    string `json:"version"`
	ClusterName                string `json:"cluster_name,omitempty"`
	ClusterID                  string `json:"cluster_id,omitempty"`
	// There only where there is something to tell: the first is that of newer
	// stock servers, the others are ours.
	ClockSkewMillis int64    `json:"clock_skew_ms,omitempty"`
	Suspended       bool     `json:"suspended,omitempty"`
	Doubted         bool     `json:"doubted,omitempty"`
	Versions        []string `json:"versions,omitempty"`
}

// Health serves GET and HEAD sys/health.
func (d *Desk) Health(ctx context.Context, query url.Values) (*wire.Answer, error) {
	s, err := d.seal.Status(ctx)
	if err != nil {
		return nil, err
	}
	standing := d.standing.Standing()
	if standing.Away { // whatever the query would have said of it
		return nil, wire.Unavailable(nil, "the store does not answer")
	}
	name, code := "activecode", http.StatusOK
	switch {
	case !s.Initialized:
		name, code = "uninitcode", http.StatusNotImplemented
	case s.Sealed:
		name, code = "sealedcode", http.StatusServiceUnavailable
	}
	if text := query.Get(name); text != "" {
		if code, err = strconv.Atoi(text); err != nil || code < 200 || code > 599 {
			return nil, wire.Invalid("bad value for %s: want an HTTP status", name)
		}
	}
	h := health{
		Initialized: s.Initialized, Sealed: s.Sealed,
		ReplicationPerformanceMode: "disabled", ReplicationDRMode: "disabled",
		ServerTimeUTC: d.clock.Now().Unix(), Version: d.version,
	}
	if s.Sealed || !s.Initialized {
		h.Sealed, h.Standby = true, true
		h.ReplicationPerformanceMode, h.ReplicationDRMode = "unknown", "unknown"
	} else {
		h.ClusterName, h.ClusterID = s.ClusterName, s.ClusterID
		h.ClockSkewMillis, h.Versions = standing.Skew.Milliseconds(), standing.Versions
		h.Suspended, h.Doubted = standing.Suspended, standing.Doubted
	}
	return &wire.Answer{Status: code, Bare: h}, nil
}

type sealStatus struct {
	Type         string `json:"type"`
	Initialized  bool   `json:"initialized"`
	Sealed       bool   `json:"sealed"`
	T            int    `json:"t"`
	N            int    `json:"n"`
	Progress     int    `json:"progress"`
	Nonce        string `json:"nonce"`
	RecoverySeal bool   `json:"recovery_seal"`
	Version      string `json:"version"`
	CommitDate   string `json:"commit_date"`
	Migration    bool   `json:"migration"`
	ClusterName  string `json:"cluster_name,omitempty"`
	ClusterID    string `json:"cluster_id,omitempty"`
	StorageType  string `json:"storage_type"`
}

// SealStatus serves GET sys/seal-status.
func (d *Desk) SealStatus(ctx context.Context, _ url.Values) (*wire.Answer, error) {
	s, err := d.seal.Status(ctx)
	if err != nil {
		return nil, err
	}
	out := sealStatus{
		Type: s.Type, Initialized: s.Initialized, Sealed: s.Sealed || !s.Initialized,
		T: s.Threshold, N: s.Shares, Progress: s.Progress, Nonce: s.Nonce, RecoverySeal: s.RecoverySeal,
		Version: d.version, StorageType: s.StorageType,
	}
	if !out.Sealed {
		out.ClusterName, out.ClusterID = s.ClusterName, s.ClusterID
	}
	return &wire.Answer{Bare: out}, nil
}

type leader struct {
	HAEnabled            bool   `json:"ha_enabled"`
	IsSelf               bool   `json:"is_self"`
	LeaderAddress        string `json:"leader_address"`
	LeaderClusterAddress string `json:"leader_cluster_address"`
}

// Leader serves GET sys/leader: every issuer serves every request, so there is
// none.
func (d *Desk) Leader(ctx context.Context, _ url.Values) (*wire.Answer, error) {
	sealed, err := d.Sealed(ctx)
	if err != nil {
		return nil, err
	}
	if sealed {
		return nil, wire.Sealed()
	}
	return &wire.Answer{Bare: leader{}}, nil
}

// Initialized serves GET sys/init.
func (d *Desk) Initialized(ctx context.Context, _ url.Values) (*wire.Answer, error) {
	s, err := d.seal.Status(ctx)
	if err != nil {
		return nil, err
	}
	return &wire.Answer{Bare: map[string]bool{"initialized": s.Initialized}}, nil
}

type initialized struct {
	Keys       []string `json:"keys"`
	KeysBase64 []string `json:"keys_base64"`
	RootToken  string   `json:"root_token"`
}

// maxShares is that of stock servers.
const maxShares = 255

// initRequest reads what `operator init` asks for, with the bounds and the words
// of stock servers.
func initRequest(f wire.Fields) (want InitRequest, err error) {
	if want.Shares, err = f.Int("secret_shares"); err != nil {
		return want, err
	}
	if want.Threshold, err = f.Int("secret_threshold"); err != nil {
		return want, err
	}
	for _, name := range []string{"pgp_keys", "recovery_pgp_keys", "root_token_pgp_key"} {
		// Who names a key to encrypt with must not get the secret in the clear.
		switch v := f[name].(type) {
		case nil:
		case string:
			if v != "" {
				return want, wire.Invalid("%s is not supported: keys and root token are not encrypted with PGP", name)
			}
		case []any:
			if len(v) > 0 {
				return want, wire.Invalid("%s is not supported: keys and root token are not encrypted with PGP", name)
			}
		default:
			return want, wire.Invalid("bad value for %s", name)
		}
	}
	invalid := func(why string) error { return wire.Invalid("invalid seal configuration: %s", why) }
	switch {
	case want.Shares > 0 && want.Threshold == 0:
		return want, invalid("threshold must be at least one")
	case want.Shares > maxShares:
		return want, invalid("shares must be less than 256")
	case want.Threshold > max(want.Shares, 1):
		return want, invalid("threshold cannot be larger than shares")
	case want.Shares > 1 && want.Threshold == 1:
		return want, invalid("threshold must be greater than one for multiple shares")
	}
	return want, nil
}

// Initialize serves PUT sys/init.
func (d *Desk) Initialize(ctx context.Context, f wire.Fields) (*wire.Answer, error) {
	want, err := initRequest(f)
	if err != nil {
		return nil, err
	}
	got, err := d.seal.Initialize(context.WithoutCancel(ctx), want)
	switch {
	case errors.Is(err, ErrInitialized):
		return nil, wire.Invalid("Vault is already initialized")
	case errors.Is(err, ErrNotAllowed):
		return nil, wire.Invalid("initialization over the API is switched off: the server initializes itself")
	case errors.Is(err, ErrNoShares):
		return nil, wire.Invalid("parameters secret_shares,secret_threshold not applicable to seal type file")
	case err != nil:
		return nil, fmt.Errorf("initialize: %w", err)
	}
	return &wire.Answer{Bare: initialized{
		Keys: reveal(got.Keys), KeysBase64: reveal(got.KeysBase64), RootToken: got.RootToken.Reveal(),
	}}, nil
}

func reveal(values []secret.Value) []string {
	out := make([]string, len(values))
	for i, v := range values {
		out[i] = v.Reveal()
	}
	return out
}
