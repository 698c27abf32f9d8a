// Package unseal is the seal and the identity of an installation, as a program
// has them: the master key, and what the first start makes.
//
// # The key and the mark
//
// The master key comes from a file that all programs of the installation share, or
// from their environment: they unseal by themselves. Or (Config.Manual) it is
// nowhere but with people: a process has it once one of them gave it by sys/unseal.
//
// Apart from that, people can seal the API of all issuers (sys/seal). That is a
// mark in the store, which no start lifts: only who gives the key does. It stops
// the API and, in the commit of every intent, issuing; it takes the key from no
// process, so that what was issued goes on time (C10, decision 10).
//
//	               Manual, no key given      sealed by people
//	API            503 Vault is sealed       503 Vault is sealed
//	revocation     none in this process      goes on
//	ends by        sys/unseal                sys/unseal
//
// # What holds
//
// The first start makes the key file, the root token and, last, the entry that
// says that the installation exists: a crash in between is repeated, not half
// done. Of several processes that try, one does it, under a lock of the store.
// A key in shares is opened by as many of them as were said when it was made, all
// given to one process; each share is recognised, or refused, when it is given.
// The shares lie in that process's memory until then, and nowhere else.
// A key file that does not belong to the store, or is missing while the store is
// initialised, is an error: nothing is made anew over it.
//
// # What can fail
//
//	key file of another installation   an error that names the file
//	a seal whose commit is not         the API says as the store has it; within
//	answered                           half a second so does every other
//	store away                         tried again by who calls
//	not initialised yet                [Installation.Await] waits
package unseal

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
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
	// Seal: it has the entry by which it is sealed.
	Seal bool `json:"seal"`
	// Split, if set, recognises the shares in which people have the key.
	Split *seal.Split `json:"split,omitempty"`
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
	// Key, if set, is the text of a key file, and KeyFile is not looked at.
	Key secret.Value
	// Manual: there is neither; people unseal each process.
	Manual bool
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

	making   sync.Mutex // one initialises at a time
	fetching sync.Mutex // what was read later is known later

	mu      sync.Mutex
	known   bool // there is an installation
	id      string
	check   []byte
	shut    bool   // people have sealed the API
	inForce string // incarnation of the entry that says that they have not
	ring    *seal.Keyring
	split   *seal.Split
	given   attempt
	ready   chan struct{} // closed when initialised and unsealed
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
// it was not. One that is [Config].Manual stays as it is.
func (i *Installation) Load(ctx context.Context) (bool, error) {
	known, err := i.fetch(ctx)
	if !known || err != nil || i.cfg.Manual {
		return known, err
	}
	ring, err := i.readKey()
	if err != nil {
		return false, fmt.Errorf("%w: unseal with %s: %w", errKeyFile, i.source(), err)
	}
	if !i.fits(ring) {
		return false, fmt.Errorf("%w: unseal with %s: it does not belong to this installation", errKeyFile, i.source())
	}
	i.open(ring)
	return true, nil
}

// source is where the key is from, for a person.
func (i *Installation) source() string {
	if i.cfg.Key.Empty() {
		return i.cfg.KeyFile
	}
	return "the key of the environment"
}

func (i *Installation) readKey() (*seal.Keyring, error) {
	if !i.cfg.Key.Empty() {
		return seal.Parse(i.cfg.Key.Reveal())
	}
	return seal.Load(i.cfg.KeyFile)
}

// makeKey is the key of a new installation; text is set where people get it.
func (i *Installation) makeKey() (ring *seal.Keyring, key []byte, err error) {
	switch {
	case i.cfg.Manual:
		key = make([]byte, seal.KeySize)
		rand.Read(key) // never fails: it ends the process
		ring, err = seal.New(key)
	case i.cfg.Key.Empty():
		ring, err = seal.LoadOrCreate(i.cfg.KeyFile)
	default:
		ring, err = i.readKey()
	}
	return ring, key, err
}

// open has the key in force; ready where there is an installation.
func (i *Installation) open(ring *seal.Keyring) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.ring = ring
	select {
	case <-i.ready:
	default:
		close(i.ready)
	}
}

// Initialise makes the installation with the given root token. Its last step
// commits the entry; everything before may be repeated.
func (i *Installation) Initialise(ctx context.Context, root secret.Value) error {
	_, err := i.initialise(ctx, root, issuer.InitRequest{})
	return err
}

// initialise returns the key, or its shares, where people get it.
func (i *Installation) initialise(ctx context.Context, root secret.Value, want issuer.InitRequest) (keys [][]byte, err error) {
	i.making.Lock()
	defer i.making.Unlock()
	if i.initialised() { // who did it meanwhile has made the only root token
		return nil, issuer.ErrInitialized
	}
	release, err := i.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	if known, err := i.Load(ctx); known || err != nil {
		if err == nil {
			err = issuer.ErrInitialized
		}
		return nil, err
	}
	ring, key, err := i.makeKey()
	if err != nil {
		return nil, fmt.Errorf("make the master key: %w", err)
	}
	split, keys, err := part(key, want)
	if err != nil {
		return nil, err
	}
	i.mu.Lock()
	i.ring = ring
	i.mu.Unlock()
	if err := i.commit(ctx, ring, split, root); err != nil {
		return nil, err
	}
	if _, err := i.fetch(ctx); err != nil {
		return nil, err
	}
	if i.cfg.Manual { // as stock servers, which are sealed until they are given it
		i.mu.Lock()
		i.ring = nil
		i.mu.Unlock()
		return keys, nil
	}
	i.open(ring)
	return nil, nil
}

// initialised reports whether this process knows an installation.
func (i *Installation) initialised() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.known
}

// commit makes the installation of a key.
func (i *Installation) commit(ctx context.Context, ring *seal.Keyring, split *seal.Split, root secret.Value) error {
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
	r := record{ID: strings.ToLower(lease.RandomBase62(20)), Check: ring.Seal(checkContext, []byte(checkText)), Seal: true, Split: split}
	value, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode the installation: %w", err)
	}
	_, err = i.store.Write(ctx, store.Write{
		Puts: []store.Entry{{Kind: store.KindSystem, Key: installationKey, Value: value}, openEntry()},
		Events: []event.Event{{
			Type: event.ConfigChanged, Subject: "sys/init",
			Data: event.Data{Actor: lease.System("system:init"), Reason: "installation initialised", Path: "sys/init"},
		}},
	})
	if err != nil {
		return fmt.Errorf("commit the installation: %w", err)
	}
	return nil
}

// lock keeps other processes from initialising at the same time.
func (i *Installation) lock(ctx context.Context) (release func(), err error) {
	l, ok, err := i.store.Acquire(ctx, lockName, i.owner, lockFor)
	switch {
	case err != nil:
		return nil, fmt.Errorf("lock the installation: %w", err)
	case !ok:
		return nil, errBusy
	}
	return func() { // also where ctx has ended
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lockFor)
		defer cancel()
		_ = i.store.Release(ctx, l) // it lapses
	}, nil
}

var errBusy = errors.New("another process initialises at this moment: try again")

// Status implements [issuer.Seal].
func (i *Installation) Status(context.Context) (issuer.SealStatus, error) {
	s := issuer.SealStatus{Type: "file", RecoverySeal: true, StorageType: i.cfg.StorageType, ClusterName: "curfew"}
	if i.cfg.Manual {
		s.Type, s.RecoverySeal = "shamir", false // clients go by these words
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	s.Initialized, s.ClusterID, s.Sealed = i.known, i.id, !i.known || i.shut || i.ring == nil
	if i.known {
		s.Shares, s.Threshold = 1, 1
	}
	if i.split != nil {
		s.Shares, s.Threshold = i.split.Shares, i.split.Threshold
		s.Progress, s.Nonce = len(i.given.shares), i.given.nonce
	}
	return s, nil
}

// Initialize implements [issuer.Seal].
func (i *Installation) Initialize(ctx context.Context, want issuer.InitRequest) (issuer.InitResult, error) {
	switch {
	case i.initialised():
		return issuer.InitResult{}, issuer.ErrInitialized
	case i.cfg.Auto:
		return issuer.InitResult{}, issuer.ErrNotAllowed
	case want.Shares > 1 && !i.cfg.Manual:
		return issuer.InitResult{}, issuer.ErrNoShares
	}
	root := NewToken()
	keys, err := i.initialise(ctx, root, want)
	if err != nil {
		return issuer.InitResult{}, err
	}
	made := issuer.InitResult{RootToken: root}
	for _, key := range keys {
		made.Keys = append(made.Keys, secret.New(hex.EncodeToString(key)))
		made.KeysBase64 = append(made.KeysBase64, secret.New(base64.StdEncoding.EncodeToString(key)))
	}
	return made, nil
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
