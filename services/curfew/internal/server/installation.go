package server

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

	"github.com/curfew-project/curfew/issuer"
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

// installation is the seal and the identity of this installation. It implements
// [issuer.Seal], [issuer.Keys] and the engine's sealer.
type installation struct {
	store   store.Entries
	keyFile string
	auto    bool // initialises itself; not over the API
	// root makes the root token; set before the first use.
	root func(ctx context.Context, text secret.Value) error

	making sync.Mutex // one initialises at a time

	mu    sync.Mutex
	id    string
	ring  *seal.Keyring
	ready chan struct{} // closed when initialised and unsealed
}

func newInstallation(s store.Entries, keyFile string, auto bool) *installation {
	return &installation{store: s, keyFile: keyFile, auto: auto, ready: make(chan struct{})}
}

var errSealed = errors.New("the seal is closed")

// load opens the seal of an installation that was initialised before; false if
// it was not.
func (i *installation) load(ctx context.Context) (bool, error) {
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
	ring, err := seal.Load(i.keyFile)
	if err != nil {
		return false, fmt.Errorf("unseal with %s: %w", i.keyFile, err)
	}
	if text, err := ring.Open(checkContext, r.Check); err != nil || string(text) != checkText {
		return false, fmt.Errorf("unseal with %s: the key file does not belong to this data directory", i.keyFile)
	}
	i.open(r.ID, ring)
	return true, nil
}

func (i *installation) open(id string, ring *seal.Keyring) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.id == "" {
		i.id, i.ring = id, ring
		close(i.ready)
	}
}

// initialise makes the installation with the given root token. Its last step
// commits the entry; everything before may be repeated.
func (i *installation) initialise(ctx context.Context, root secret.Value) error {
	i.making.Lock()
	defer i.making.Unlock()
	select {
	case <-i.ready: // who initialised meanwhile has made the only root token
		return issuer.ErrInitialized
	default:
	}
	ring, err := seal.LoadOrCreate(i.keyFile)
	if err != nil {
		return fmt.Errorf("make the key file: %w", err)
	}
	i.mu.Lock()
	i.ring = ring
	i.mu.Unlock()
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

// autoInit is the first start: the root token goes to a file of the owner's.
func (i *installation) autoInit(ctx context.Context, tokenFile string) error {
	text, err := os.ReadFile(tokenFile) //nolint:gosec // below the operator's data directory
	switch {
	case errors.Is(err, fs.ErrNotExist):
		text = []byte(NewToken().Reveal())
		if err := writePrivate(tokenFile, append(text, '\n')); err != nil {
			return fmt.Errorf("write the root token: %w", err)
		}
	case err != nil:
		return fmt.Errorf("read the root token: %w", err)
	}
	root := secret.New(strings.TrimSpace(string(text)))
	if !strings.HasPrefix(root.Reveal(), tokenPrefix) || len(root.Reveal()) < len(tokenPrefix)+tokenLen {
		return fmt.Errorf("read the root token: %s holds none; remove the file, and the next start makes another", tokenFile)
	}
	return i.initialise(ctx, root)
}

// NewToken makes the text of a root token.
func NewToken() secret.Value { return secret.New(tokenPrefix + lease.RandomBase62(tokenLen)) }

// writePrivate writes a file for the owner only, durably, and never over one
// that exists. It is made under another name: a crash leaves no half of it.
func writePrivate(path string, content []byte) (err error) {
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
func (i *installation) Status(context.Context) (issuer.SealStatus, error) {
	s := issuer.SealStatus{Type: "file", Shares: 1, Threshold: 1, RecoverySeal: true, StorageType: "sqlite", ClusterName: "curfew"}
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
func (i *installation) Initialize(ctx context.Context, _ issuer.InitRequest) (issuer.InitResult, error) {
	select {
	case <-i.ready:
		return issuer.InitResult{}, issuer.ErrInitialized
	default:
	}
	if i.auto {
		return issuer.InitResult{}, issuer.ErrNotAllowed
	}
	root := NewToken()
	if err := i.initialise(ctx, root); err != nil {
		return issuer.InitResult{}, err
	}
	return issuer.InitResult{RootToken: root}, nil
}

func (i *installation) keyring() (*seal.Keyring, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.ring == nil {
		return nil, errSealed
	}
	return i.ring, nil
}

// Derive implements [issuer.Keys].
func (i *installation) Derive(purpose string) ([]byte, error) {
	ring, err := i.keyring()
	if err != nil {
		return nil, err
	}
	return ring.Derive(purpose), nil
}

// DeriveEach lets tokens outlive a change of the master key.
func (i *installation) DeriveEach(purpose string) ([][]byte, error) {
	ring, err := i.keyring()
	if err != nil {
		return nil, err
	}
	return ring.DeriveEach(purpose), nil
}

// Seal seals for the engines.
func (i *installation) Seal(plaintext []byte, about string) ([]byte, error) {
	ring, err := i.keyring()
	if err != nil {
		return nil, err
	}
	return ring.Seal(about, plaintext), nil
}

// Open is the inverse of Seal.
func (i *installation) Open(ciphertext []byte, about string) ([]byte, error) {
	ring, err := i.keyring()
	if err != nil {
		return nil, err
	}
	return ring.Open(about, ciphertext)
}

var (
	_ issuer.Seal = (*installation)(nil)
	_ issuer.Keys = (*installation)(nil)
)
