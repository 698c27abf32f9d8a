// Package unseal is the seal and the identity of an installation, as a program
// has them: the master key from a file that all programs of the installation
// share, and what the first start makes.
//
// # What holds
//
// The first start makes the key file, the root token and, last, the entry that
// says that the installation exists: a crash in between is repeated, not half
// done. Of several processes that try, one does it, under a lock of the store.
// A key file that does not belong to the store, or is missing while the store is
// initialised, is an error: nothing is made anew over it.
//
// # What can fail
//
//	key file of another installation   an error that names the file
//	store away                         tried again by who calls
//	not initialised yet                [Installation.Await] waits
package unseal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/issuer"
	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/seal"
	"github.com/curfew-project/curfew/shared/secret"
	"github.com/curfew-project/curfew/shared/store"
)

const (
	installationKey = "installation"
	checkContext    = "installation check"
	checkText       = "curfew"
	tokenPrefix     = "hvs."
	tokenLen        = 32
)

// record is the value of the installation's entry.
type record struct {
	ID string `json:"id"`
	// Check is a known text under the seal: another key file is found out.
	Check []byte `json:"check"`
}

// Store is what an installation needs of the store.
type Store interface {
	store.Entries
	store.Locks
	// Suspension and Compared are those of [store.Recovery].
	Suspension(ctx context.Context) (store.Suspension, bool, error)
	Compared(ctx context.Context, s store.Suspension) error
}

// Config says how an installation is found or made.
type Config struct {
	KeyFile string
	// Auto: initialises itself; not over the API.
	Auto bool
	// StorageType is shown to clients: "sqlite", "postgres".
	StorageType string
}

// Installation is the seal and the identity of an installation. It implements
// [issuer.Seal], [issuer.Keys] and the engine's sealer.
type Installation struct {
	store Store
	cfg   Config
	owner string // of the lock
	// root makes the root token; see [Installation.Roots].
	root func(ctx context.Context, text secret.Value) error

	making sync.Mutex // one initialises at a time

	mu    sync.Mutex
	id    string
	ring  *seal.Keyring
	ready chan struct{} // closed when initialised and unsealed
}

// New returns an installation that nothing is known of yet.
func New(s Store, cfg Config) *Installation {
	return &Installation{
		store: s, cfg: cfg, owner: lease.RandomBase62(20), ready: make(chan struct{}),
		root: func(context.Context, secret.Value) error { return errors.New("this program makes no root token") },
	}
}

// Roots says how a root token is made. It is called before anything else.
func (i *Installation) Roots(root func(ctx context.Context, text secret.Value) error) { i.root = root }

// Ready is closed when the installation is initialised and unsealed.
func (i *Installation) Ready() <-chan struct{} { return i.ready }

// ID names the installation; empty before [Installation.Ready].
func (i *Installation) ID() string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.id
}

// Await returns when the installation is initialised, by this process or by
// another.
func (i *Installation) Await(ctx context.Context, c clock.Clock, log zerolog.Logger) error {
	for said := false; ; {
		known, err := i.Load(ctx)
		if known || errors.Is(err, errKeyFile) { // waiting mends no key file
			return err
		}
		if !said {
			log.Info().AnErr("reason", err).Msg("waiting for the installation to be initialised")
			said = true
		}
		tick, stop := c.Timer(askEvery)
		select {
		case <-tick:
		case <-i.ready:
			stop()
			return nil
		case <-ctx.Done():
			stop()
			return ctx.Err()
		}
	}
}

// errKeyFile is the error where the key file is there and of no use.
var errKeyFile = errors.New("the key file cannot be used")

const (
	askEvery = time.Second
	// lockName and lockFor serialise first starts.
	lockName = "initialise"
	lockFor  = time.Minute
)

var errSealed = errors.New("the seal is closed")

// Load opens the seal of an installation that was initialised before; false if
// it was not.
func (i *Installation) Load(ctx context.Context) (bool, error) {
	e, err := i.store.Entry(ctx, store.KindSystem, installationKey)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read the installation: %w", err)
	}
	var r record
	if err := json.Unmarshal(e.Value, &r); err != nil {
		return false, fmt.Errorf("read the installation: %w", err)
	}
	ring, err := seal.Load(i.cfg.KeyFile)
	if err != nil {
		return false, fmt.Errorf("%w: unseal with %s: %w", errKeyFile, i.cfg.KeyFile, err)
	}
	if text, err := ring.Open(checkContext, r.Check); err != nil || string(text) != checkText {
		return false, fmt.Errorf("%w: unseal with %s: it does not belong to this installation", errKeyFile, i.cfg.KeyFile)
	}
	i.open(r.ID, ring)
	return true, nil
}

func (i *Installation) open(id string, ring *seal.Keyring) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.id == "" {
		i.id, i.ring = id, ring
		close(i.ready)
	}
}

// Initialise makes the installation with the given root token. Its last step
// commits the entry; everything before may be repeated.
func (i *Installation) Initialise(ctx context.Context, root secret.Value) error {
	i.making.Lock()
	defer i.making.Unlock()
	select {
	case <-i.ready: // who initialised meanwhile has made the only root token
		return issuer.ErrInitialized
	default:
	}
	release, err := i.lock(ctx)
	if err != nil {
		return err
	}
	defer release()
	if known, err := i.Load(ctx); known || err != nil {
		if err == nil {
			err = issuer.ErrInitialized
		}
		return err
	}
	ring, err := seal.LoadOrCreate(i.cfg.KeyFile)
	if err != nil {
		return fmt.Errorf("make the key file: %w", err)
	}
	i.mu.Lock()
	i.ring = ring
	i.mu.Unlock()
	// Before this there is no record, nor an auditor that could compare the
	// store with one (A7).
	why, suspended, err := i.store.Suspension(ctx)
	if err == nil && suspended {
		err = i.store.Compared(ctx, why)
	}
	if err != nil {
		return fmt.Errorf("begin without a record: %w", err)
	}
	if err := i.root(ctx, root); err != nil {
		return fmt.Errorf("make the root token: %w", err)
	}
	r := record{ID: strings.ToLower(lease.RandomBase62(20)), Check: ring.Seal(checkContext, []byte(checkText))}
	value, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode the installation: %w", err)
	}
	_, err = i.store.Write(ctx, store.Write{
		Puts: []store.Entry{{Kind: store.KindSystem, Key: installationKey, Value: value}},
		Events: []event.Event{{
			Type: event.ConfigChanged, Subject: "sys/init",
			Data: event.Data{Actor: lease.System("system:init"), Reason: "installation initialised", Path: "sys/init"},
		}},
	})
	if err != nil {
		return fmt.Errorf("commit the installation: %w", err)
	}
	i.open(r.ID, ring)
	return nil
}

// lock keeps other processes from initialising at the same time.
func (i *Installation) lock(ctx context.Context) (release func(), err error) {
	l, ok, err := i.store.Acquire(ctx, lockName, i.owner, lockFor)
	switch {
	case err != nil:
		return nil, fmt.Errorf("lock the installation: %w", err)
	case !ok:
		return nil, errors.New("another process initialises at this moment: try again")
	}
	return func() { // also where ctx has ended
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lockFor)
		defer cancel()
		_ = i.store.Release(ctx, l) // it lapses
	}, nil
}

// AutoInit is the first start: the root token goes to a file of the owner's.
func (i *Installation) AutoInit(ctx context.Context, tokenFile string) error {
	text, err := os.ReadFile(tokenFile) //nolint:gosec // below the operator's data directory
	switch {
	case errors.Is(err, fs.ErrNotExist):
		text = []byte(NewToken().Reveal())
		if err := WritePrivate(tokenFile, append(text, '\n')); err != nil {
			return fmt.Errorf("write the root token: %w", err)
		}
	case err != nil:
		return fmt.Errorf("read the root token: %w", err)
	}
	root := secret.New(strings.TrimSpace(string(text)))
	if !strings.HasPrefix(root.Reveal(), tokenPrefix) || len(root.Reveal()) < len(tokenPrefix)+tokenLen {
		return fmt.Errorf("read the root token: %s holds none; remove the file, and the next start makes another", tokenFile)
	}
	return i.Initialise(ctx, root)
}

// NewToken makes the text of a root token.
func NewToken() secret.Value { return secret.New(tokenPrefix + lease.RandomBase62(tokenLen)) }

// WritePrivate writes a file for the owner only, durably, and never over one
// that exists. It is made under another name: a crash leaves no half of it.
func WritePrivate(path string, content []byte) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+"-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(f.Name())) }()
	_, err = f.Write(content)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(dir) //nolint:gosec // see above
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Status implements [issuer.Seal].
func (i *Installation) Status(context.Context) (issuer.SealStatus, error) {
	s := issuer.SealStatus{Type: "file", Shares: 1, Threshold: 1, RecoverySeal: true, StorageType: i.cfg.StorageType, ClusterName: "curfew"}
	select {
	case <-i.ready:
		i.mu.Lock()
		defer i.mu.Unlock()
		s.Initialized, s.ClusterID = true, i.id
	default:
		s.Sealed = true
	}
	return s, nil
}

// Initialize implements [issuer.Seal].
func (i *Installation) Initialize(ctx context.Context, _ issuer.InitRequest) (issuer.InitResult, error) {
	select {
	case <-i.ready:
		return issuer.InitResult{}, issuer.ErrInitialized
	default:
	}
	if i.cfg.Auto {
		return issuer.InitResult{}, issuer.ErrNotAllowed
	}
	root := NewToken()
	if err := i.Initialise(ctx, root); err != nil {
		return issuer.InitResult{}, err
	}
	return issuer.InitResult{RootToken: root}, nil
}

func (i *Installation) keyring() (*seal.Keyring, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.ring == nil {
		return nil, errSealed
	}
	return i.ring, nil
}

// Derive implements [issuer.Keys].
func (i *Installation) Derive(purpose string) ([]byte, error) {
	ring, err := i.keyring()
	if err != nil {
		return nil, err
	}
	return ring.Derive(purpose), nil
}

// DeriveEach lets tokens outlive a change of the master key.
func (i *Installation) DeriveEach(purpose string) ([][]byte, error) {
	ring, err := i.keyring()
	if err != nil {
		return nil, err
	}
	return ring.DeriveEach(purpose), nil
}

// Seal seals for the engines.
func (i *Installation) Seal(plaintext []byte, about string) ([]byte, error) {
	ring, err := i.keyring()
	if err != nil {
		return nil, err
	}
	return ring.Seal(about, plaintext), nil
}

// Open is the inverse of Seal.
func (i *Installation) Open(ciphertext []byte, about string) ([]byte, error) {
	ring, err := i.keyring()
	if err != nil {
		return nil, err
	}
	return ring.Open(about, ciphertext)
}

var (
	_ issuer.Seal = (*Installation)(nil)
	_ issuer.Keys = (*Installation)(nil)
)
