package approle

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/curfew-project/curfew/issuer/internal/address"
	"github.com/curfew-project/curfew/issuer/internal/request"
	"github.com/curfew-project/curfew/issuer/internal/wire"
	"github.com/curfew-project/curfew/shared/secret"
	"github.com/curfew-project/curfew/shared/store"
)

// maxSecretID bounds a secret id that somebody chose.
const maxSecretID = 4096

// generate makes a secret id: a random UUID, 122 bits.
func (a *Method) generate(ctx context.Context, c call) (*wire.Answer, error) {
	return a.create(ctx, c, secret.New(request.NewID()))
}

// custom takes a secret id that somebody chose.
func (a *Method) custom(ctx context.Context, c call) (*wire.Answer, error) {
	text, err := named(c.Fields(), "secret_id")
	switch {
	case err != nil:
		return nil, err
	case strings.TrimSpace(text) != text:
		return nil, wire.Invalid("secret_id begins or ends with a space")
	case len(text) > maxSecretID:
		return nil, wire.Invalid("secret_id is longer than maximum of %d bytes", maxSecretID)
	}
	return a.create(ctx, c, secret.New(text))
}

// named is a text that has to be there.
func named(f wire.Fields, name string) (string, error) {
	text, err := f.String(name)
	if err == nil && text == "" {
		err = wire.Invalid("missing %s", name)
	}
	return text, err
}

func (a *Method) create(ctx context.Context, c call, text secret.Value) (*wire.Answer, error) {
	role, err := a.known(ctx, &c)
	if err != nil {
		return nil, err
	}
	s, err := wanted(c.Fields(), role)
	if err != nil {
		return nil, err
	}
	hashes, err := a.hashes(role, text)
	if err != nil {
		return nil, err
	}
	if s.CreatedAt, err = a.store.Now(ctx); err != nil {
		return nil, fmt.Errorf("make secret id: %w", err)
	}
	s.UpdatedAt, s.Accessor = s.CreatedAt, request.NewID()
	if s.TTL > 0 {
		s.ExpiresAt = s.CreatedAt.Add(s.TTL)
	}
	s.hash, s.key = hashes[0], secretKey(c.mount, role, s.Accessor)
	if err := a.register(ctx, &c, &s, hashes); err != nil {
		return nil, err
	}
	answer := wire.OK(map[string]any{
		"secret_id": text.Reveal(), "secret_id_accessor": s.Accessor,
		"secret_id_num_uses": s.Uses, "secret_id_ttl": wire.Seconds(s.TTL),
	})
	answer.Recorded, answer.Accessor = true, s.Accessor
	answer.Undelivered = func(ctx context.Context) error { return a.takeBack(ctx, s.ref()) }
	return answer, nil
}

// register commits a new secret id; hashes are all that its text can have.
func (a *Method) register(ctx context.Context, c *call, s *secretID, hashes []string) error {
	w := store.Write{Events: events(c, "role/"+c.name+"/secret-id-accessor/"+s.Accessor, http.StatusOK)}
	for _, hash := range hashes {
		e, err := a.store.EntryByID(ctx, store.KindSecretID, hash)
		switch {
		case errors.Is(err, store.ErrNotFound):
			continue
		case err != nil:
			return fmt.Errorf("make secret id: %w", err)
		case !e.Withdrawn:
			return wire.Invalid("secret_id is already registered")
		}
		// Chosen again after it had ended.
		w.Deletes = append(w.Deletes, store.Ref{Kind: store.KindSecretID, ID: hash})
	}
	put, err := s.entry()
	if err != nil {
		return err
	}
	w.Puts = []store.Entry{put}
	_, err = a.store.Write(ctx, w)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, store.ErrExists):
		return wire.Invalid("secret_id is already registered")
	case errors.Is(err, store.ErrUnknown):
		err = errors.Join(err, a.takeBack(ctx, s.ref()))
	}
	return fmt.Errorf("make secret id: %w", err)
}

// takeBack ends a secret id that reached nobody.
func (a *Method) takeBack(ctx context.Context, ref store.Ref) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoWithin)
	defer cancel()
	_, err := a.store.Write(ctx, store.Write{Withdrawals: []store.Ref{ref}})
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("take back a secret id: %w", err)
	}
	return nil
}

// wanted are the settings of a secret id to be made: never more than its role
// allows.
func wanted(f wire.Fields, role role) (s secretID, err error) {
	if !role.BindSecretID {
		return s, wire.Invalid("bind_secret_id is not set on the role")
	}
	if s.CIDRs, err = cidrs(f, "cidr_list"); err != nil {
		return s, err
	}
	if s.TokenCIDRs, err = cidrs(f, "token_bound_cidrs"); err != nil {
		return s, err
	}
	if !address.Covers(role.CIDRs, s.CIDRs) || !address.Covers(role.Token.CIDRs, s.TokenCIDRs) {
		return s, wire.Invalid("the CIDR blocks on the secret ID are not a subset of those on the role")
	}
	s.Uses = role.Uses
	if f.Has("num_uses") {
		if s.Uses, err = f.Int("num_uses"); err != nil {
			return s, err
		}
		if role.Uses > 0 && (s.Uses == 0 || s.Uses > role.Uses) {
			return s, wire.Invalid("num_uses cannot be higher than the role's secret_id_num_uses")
		}
	}
	s.TTL = role.TTL
	if f.Has("ttl") {
		if s.TTL, err = f.Duration("ttl"); err != nil {
			return s, err
		}
		if role.TTL > 0 && (s.TTL == 0 || s.TTL > role.TTL) {
			return s, wire.Invalid("ttl cannot be longer than the role's secret_id_ttl")
		}
	}
	s.Meta, err = metadata(f)
	return s, err
}

// metadata reads an object, or text that is one in JSON (as it is or in
// base64) or a list of key=value.
func metadata(f wire.Fields) (map[string]string, error) {
	if _, object := f["metadata"].(map[string]any); object {
		return f.StringMap("metadata")
	}
	text, err := f.String("metadata")
	if err != nil || text == "" {
		return nil, err
	}
	if raw, err := base64.StdEncoding.DecodeString(text); err == nil && json.Valid(raw) {
		text = string(raw)
	}
	if strings.HasPrefix(strings.TrimSpace(text), "{") {
		data, err := wire.Decode(strings.NewReader(text))
		if err != nil {
			return nil, wire.Invalid("failed to parse metadata: it is no JSON object of strings")
		}
		return wire.Fields{"metadata": data}.StringMap("metadata")
	}
	out := map[string]string{}
	for pair := range strings.SplitSeq(text, ",") {
		key, value, ok := strings.Cut(pair, "=")
		if key = strings.TrimSpace(key); !ok || key == "" {
			return nil, wire.Invalid("failed to parse metadata: it is neither a JSON object nor a list of key=value")
		}
		out[key] = strings.TrimSpace(value)
	}
	return out, nil
}

// shape is a secret id as look-ups show it.
func (s *secretID) shape() map[string]any {
	list := func(l []string) []string {
		if l == nil {
			return []string{}
		}
		return l
	}
	meta := s.Meta
	if meta == nil {
		meta = map[string]string{}
	}
	return map[string]any{
		"secret_id_accessor": s.Accessor, "secret_id_num_uses": s.Uses, "secret_id_ttl": wire.Seconds(s.TTL),
		"creation_time": s.CreatedAt.UTC().Format(time.RFC3339Nano), "expiration_time": s.ExpiresAt.UTC().Format(time.RFC3339Nano),
		"last_updated_time": s.UpdatedAt.UTC().Format(time.RFC3339Nano),
		"metadata":          meta, "cidr_list": list(s.CIDRs), "token_bound_cidrs": list(s.TokenCIDRs),
	}
}

// bySecret is the usable secret id that a request names; none: errNone.
func (a *Method) bySecret(ctx context.Context, c *call) (secretID, error) {
	text, err := named(c.Fields(), "secret_id")
	if err != nil {
		return secretID{}, err
	}
	role, err := a.known(ctx, c)
	if err != nil {
		return secretID{}, err
	}
	s, err := a.find(ctx, role, secret.New(text))
	if errors.Is(err, errEnded) {
		err = errNone
	}
	return s, err
}

// byAccessor is the usable secret id of an accessor; none is a 404.
func (a *Method) byAccessor(ctx context.Context, c *call) (secretID, error) {
	accessor, err := named(c.Fields(), "secret_id_accessor")
	if err != nil {
		return secretID{}, err
	}
	role, err := a.known(ctx, c)
	if err != nil {
		return secretID{}, err
	}
	unknown := &wire.Error{Status: http.StatusNotFound, Messages: []string{
		fmt.Sprintf("failed to find accessor entry for secret_id_accessor: %q", accessor),
	}}
	if !isName(accessor) || len(accessor) > maxName {
		return secretID{}, unknown // no accessor of ours, and not to be part of a key
	}
	e, err := a.store.Entry(ctx, store.KindSecretID, secretKey(c.mount, role, accessor))
	if errors.Is(err, store.ErrNotFound) {
		return secretID{}, unknown
	}
	if err != nil {
		return secretID{}, fmt.Errorf("read secret id: %w", err)
	}
	s, err := a.usable(ctx, e)
	if errors.Is(err, errEnded) {
		err = unknown
	}
	return s, err
}

func (a *Method) lookup(ctx context.Context, c call) (*wire.Answer, error) {
	s, err := a.bySecret(ctx, &c)
	if errors.Is(err, errNone) {
		return wire.NoContent(), nil // as stock servers say "nothing"
	}
	if err != nil {
		return nil, err
	}
	return wire.OK(s.shape()), nil
}

func (a *Method) lookupAccessor(ctx context.Context, c call) (*wire.Answer, error) {
	s, err := a.byAccessor(ctx, &c)
	if err != nil {
		return nil, err
	}
	return wire.OK(s.shape()), nil
}

func (a *Method) destroy(ctx context.Context, c call) (*wire.Answer, error) {
	s, err := a.bySecret(ctx, &c)
	if errors.Is(err, errNone) {
		return wire.NoContent(), nil
	}
	if err != nil {
		return nil, err
	}
	return a.end(ctx, &c, s)
}

func (a *Method) destroyAccessor(ctx context.Context, c call) (*wire.Answer, error) {
	s, err := a.byAccessor(ctx, &c)
	if err != nil {
		return nil, err
	}
	return a.end(ctx, &c, s)
}

// end destroys a secret id: no login that is not committed yet gets through.
func (a *Method) end(ctx context.Context, c *call, s secretID) (*wire.Answer, error) {
	_, err := a.store.Write(ctx, store.Write{
		Withdrawals: []store.Ref{s.ref()},
		Events:      events(c, "role/"+c.name+"/secret-id-accessor/"+s.Accessor, http.StatusNoContent),
	})
	answer := wire.NoContent()
	if errors.Is(err, store.ErrNotFound) {
		return answer, nil // used up or destroyed meanwhile
	}
	if err != nil {
		return nil, fmt.Errorf("destroy secret id: %w", err)
	}
	answer.Recorded = true
	return answer, nil
}

// listSecretIDs lists the accessors of a role.
func (a *Method) listSecretIDs(ctx context.Context, c call) (*wire.Answer, error) {
	role, err := a.known(ctx, &c)
	if err != nil {
		return nil, err
	}
	now, err := a.store.Now(ctx)
	if err != nil {
		return nil, fmt.Errorf("list secret ids: %w", err)
	}
	prefix := secretKey(c.mount, role, "")
	keys, after := []string{}, ""
	if c.After != "" {
		after = prefix + c.After
	}
	for {
		entries, err := a.store.List(ctx, store.KindSecretID, prefix, after, false, page)
		if err != nil {
			return nil, fmt.Errorf("list secret ids: %w", err)
		}
		for _, e := range entries {
			s, err := decodeSecretID(e)
			if err != nil {
				return nil, err
			}
			if !s.over(now) && (c.Limit == 0 || len(keys) < c.Limit) {
				keys = append(keys, s.Accessor)
			}
		}
		if len(entries) < page || c.Limit > 0 && len(keys) == c.Limit {
			break
		}
		after = entries[len(entries)-1].Key
	}
	if len(keys) == 0 {
		return nil, wire.Nothing()
	}
	return wire.OK(map[string]any{"keys": keys}), nil
}
