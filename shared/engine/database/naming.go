package database

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/engine/username"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

// namingKey is the key of the entry that holds the naming keys.
const namingKey = "naming"

const namingContext = "database naming keys"

// naming is the value of the entry: what [username.New] needs. It is made once
// for an installation and kept as long as an account of it can exist (B2).
type naming struct {
	Installation string `json:"installation"`
	Current      string `json:"current"`
	// Keys is sealed JSON: secrets by key id.
	Keys []byte `json:"keys"`
}

// namer gives the accounts their names, and recognises them. It is made at the
// first use: New does no I/O, and the seal may still be closed then.
func (e *Engine) namer(ctx context.Context) (*username.Namer, error) {
	e.naming.Lock()
	defer e.naming.Unlock()
	if e.naming.namer != nil {
		return e.naming.namer, nil
	}
	n, err := e.loadNaming(ctx)
	if errors.Is(err, store.ErrNotFound) {
		if n, err = e.makeNaming(ctx); errors.Is(err, store.ErrExists) {
			n, err = e.loadNaming(ctx) // another process was faster
		}
	}
	if err != nil {
		return nil, storeError("load naming keys", err)
	}
	e.naming.namer = n
	return n, nil
}

func (e *Engine) loadNaming(ctx context.Context) (*username.Namer, error) {
	entry, err := e.store.Entry(ctx, store.KindSystem, namingKey)
	if err != nil {
		return nil, err
	}
	var n naming
	if err := json.Unmarshal(entry.Value, &n); err != nil {
		return nil, fmt.Errorf("read naming keys: %w", err)
	}
	plain, err := e.sealer.Open(n.Keys, namingContext)
	if err != nil {
		return nil, &engine.Error{Kind: engine.Internal, Message: "the naming keys could not be unsealed", Err: err}
	}
	var secrets map[string][]byte
	if err := json.Unmarshal(plain, &secrets); err != nil {
		return nil, errors.New("read naming keys: their content is not what was sealed") // the cause could quote it
	}
	return n.namer(secrets)
}

func (n *naming) namer(secrets map[string][]byte) (*username.Namer, error) {
	var keys []username.Key
	for id, s := range secrets {
		if len(id) != 1 {
			return nil, errors.New("read naming keys: a key id is one character")
		}
		keys = append(keys, username.Key{ID: id[0], Secret: s})
	}
	if len(n.Current) != 1 {
		return nil, errors.New("read naming keys: a key id is one character")
	}
	return username.New(n.Installation, keys, n.Current[0])
}

func (e *Engine) makeNaming(ctx context.Context) (*username.Namer, error) {
	key := make([]byte, username.MinSecret)
	rand.Read(key)
	const first = "a"
	secrets := map[string][]byte{first: key}
	plain, err := json.Marshal(secrets)
	if err != nil {
		return nil, fmt.Errorf("encode naming keys: %w", err)
	}
	sealed, err := e.sealer.Seal(plain, namingContext)
	if err != nil {
		return nil, &engine.Error{Kind: engine.Internal, Message: "the naming keys could not be sealed", Err: err}
	}
	n := naming{Installation: rand.Text(), Current: first, Keys: sealed}
	value, err := json.Marshal(n)
	if err != nil {
		return nil, fmt.Errorf("encode naming keys: %w", err)
	}
	_, err = e.store.Write(ctx, store.Write{Puts: []store.Entry{{Kind: store.KindSystem, Key: namingKey, Value: value}}})
	if err != nil {
		return nil, fmt.Errorf("store naming keys: %w", err)
	}
	return n.namer(secrets)
}

// template is what the connection's accounts are named by; nil for the names of
// Curfew's own making.
func (c *connection) template() (*username.Template, error) {
	if c.Template == "" {
		return nil, nil //nolint:nilnil // there is none
	}
	t, err := username.ParseTemplate(c.Template)
	if err != nil {
		return nil, invalid("invalid username template: " + err.Error())
	}
	return t, nil
}

// account names the account of a lease (B2).
func (e *Engine) account(ctx context.Context, c *connection, display, role string, id lease.ID) (string, error) {
	namer, err := e.namer(ctx)
	if err != nil {
		return "", err
	}
	t, err := c.template()
	if err != nil {
		return "", err
	}
	if t != nil {
		return namer.Templated(t, display, role, string(id), e.accountTime()), nil
	}
	return namer.Name(display, role, string(id), e.accountTime()), nil
}

// accountTime is what a name says of its making; a name needs no better clock
// than the process's own.
func (e *Engine) accountTime() time.Time { return e.clock.Now() }
