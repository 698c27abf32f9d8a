package approle

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/curfew-project/curfew/issuer/internal/auth"
	"github.com/curfew-project/curfew/issuer/internal/tokens"
	"github.com/curfew-project/curfew/shared/secret"
	"github.com/curfew-project/curfew/shared/store"
)

// record is what the store keeps of a secret id.
type record struct {
	Accessor   string            `json:"accessor"`
	Uses       int               `json:"num_uses,omitempty"` // left; 0: any number
	TTL        time.Duration     `json:"ttl,omitempty"`
	Meta       map[string]string `json:"metadata,omitempty"`
	CIDRs      []string          `json:"cidr_list,omitempty"`
	TokenCIDRs []string          `json:"token_bound_cidrs,omitempty"`
	CreatedAt  time.Time         `json:"created_at"`
	ExpiresAt  time.Time         `json:"expires_at,omitzero"` // zero: never
	UpdatedAt  time.Time         `json:"updated_at"`
}

// secretID is a secret id as it is in the store.
type secretID struct {
	record
	key      string
	hash     string
	revision int64
}

func (s *secretID) ref() store.Ref { return store.Ref{Kind: store.KindSecretID, ID: s.hash} }

// entry is s, ready to be put.
func (s *secretID) entry() (store.Entry, error) {
	value, err := json.Marshal(s.record)
	if err != nil {
		return store.Entry{}, fmt.Errorf("encode secret id: %w", err)
	}
	return store.Entry{Kind: store.KindSecretID, Key: s.key, ID: s.hash, Revision: s.revision, Value: value}, nil
}

func decodeSecretID(e store.Entry) (secretID, error) {
	s := secretID{key: e.Key, hash: e.ID, revision: e.Revision}
	if err := json.Unmarshal(e.Value, &s.record); err != nil {
		return s, fmt.Errorf("decode secret id: %w", err)
	}
	return s, nil
}

// secretKey is the key of a secret id with that accessor.
func secretKey(m auth.Mount, role role, accessor string) string {
	return m.ID + "/" + role.id + "/" + accessor
}

// errEnded says that there was such a secret id.
var errEnded = errors.New("has ended")

// over reports whether the time of a secret id has passed.
func (s *secretID) over(now time.Time) bool { return !s.ExpiresAt.IsZero() && !now.Before(s.ExpiresAt) }

// ended reports whether an entry can be forgotten: its secret id has ended so
// long ago that nobody is expected to present it still.
func ended(e store.Entry, now time.Time) bool {
	if e.Withdrawn {
		return now.Sub(e.ChangedAt) >= KeepDead
	}
	s, err := decodeSecretID(e)
	return err == nil && s.over(now.Add(-KeepDead))
}

// find is the secret id of that text, errNone or errEnded.
func (a *Method) find(ctx context.Context, role role, text secret.Value) (secretID, error) {
	hashes, err := a.hashes(role, text)
	if err != nil {
		return secretID{}, err
	}
	for _, hash := range hashes {
		e, err := a.store.EntryByID(ctx, store.KindSecretID, hash)
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return secretID{}, fmt.Errorf("read secret id: %w", err)
		}
		return a.usable(ctx, e)
	}
	return secretID{}, errNone
}

// usable is the secret id of an entry, with errEnded where nobody can use it
// any more. One whose time has passed is withdrawn on the way.
func (a *Method) usable(ctx context.Context, e store.Entry) (secretID, error) {
	s, err := decodeSecretID(e)
	if err != nil {
		return s, err
	}
	if e.Withdrawn {
		return s, errEnded
	}
	if s.ExpiresAt.IsZero() {
		return s, nil
	}
	now, err := a.store.Now(ctx)
	if err != nil {
		return s, fmt.Errorf("read the time: %w", err)
	}
	if !s.over(now) {
		return s, nil
	}
	_, err = a.store.Write(ctx, store.Write{Withdrawals: []store.Ref{s.ref()}})
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		// It is refused in any case, now and later.
		a.log.Warn().Err(err).Str("secret_id_accessor", s.Accessor).Msg("expired secret id is left to the next tidy")
	}
	return s, errEnded
}

// hashes are the keyed hashes of a role's secret id, under the current key
// first.
func (a *Method) hashes(role role, text secret.Value) ([]string, error) {
	keys, err := a.hashKeys()
	if err != nil {
		return nil, fmt.Errorf("derive the key of secret id hashes: %w", err)
	}
	out := make([]string, len(keys))
	for i, key := range keys {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(role.id + "/" + text.Reveal())) // an incarnation has no slash
		out[i] = hex.EncodeToString(mac.Sum(nil))
	}
	return out, nil
}

func (a *Method) hashKeys() ([][]byte, error) {
	each, ok := a.keys.(tokens.EachKey)
	if !ok {
		key, err := a.keys.Derive(keyPurpose)
		return [][]byte{key}, err
	}
	keys, err := each.DeriveEach(keyPurpose)
	if err == nil && len(keys) == 0 {
		err = errors.New("there is no master key")
	}
	return keys, err
}
