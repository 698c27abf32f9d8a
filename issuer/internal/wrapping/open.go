package wrapping

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/curfew-project/curfew/issuer/internal/request"
	"github.com/curfew-project/curfew/issuer/internal/wire"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/secret"
	"github.com/curfew-project/curfew/shared/store"
)

// Echo serves sys/wrapping/wrap: what was sent, wrapped.
func (d *Desk) Echo(_ context.Context, r *request.Request) (*wire.Answer, error) {
	if r.WrapTTL <= 0 {
		return nil, wire.Invalid("endpoint requires response wrapping to be used")
	}
	data := r.Data
	if data == nil {
		data = map[string]any{}
	}
	return wire.OK(data), nil
}

// unopened is a wrapping token that a request names, with its content.
type unopened struct {
	lease   lease.Lease
	text    secret.Value
	plan    plan
	content []byte
}

// invalid is the 400 for every wrapping token that does not open.
func invalid() *wire.Error { return wire.Invalid("wrapping token is not valid or does not exist") }

// named finds the wrapping token that r names: the one that it sends, or the
// one that it bears.
func (d *Desk) named(ctx context.Context, r *request.Request) (*unopened, error) {
	sent, err := r.Fields().String("token")
	if err != nil {
		return nil, err
	}
	text := r.Caller.Text
	if sent != "" {
		text = secret.New(sent)
	}
	if !IsToken(text) {
		return nil, invalid()
	}
	u := &unopened{text: text}
	u.lease, err = d.store.Get(ctx, idOf(text))
	if errors.Is(err, store.ErrNotFound) {
		return nil, invalid()
	}
	if err != nil {
		return nil, fmt.Errorf("look up wrapping token: %w", err)
	}
	now, err := d.store.Now(ctx)
	if err != nil {
		return nil, fmt.Errorf("look up wrapping token: %w", err)
	}
	if !u.lease.Wraps || !u.lease.Usable(now) {
		return nil, invalid()
	}
	if err := json.Unmarshal(u.lease.Plan, &u.plan); err != nil {
		return nil, fmt.Errorf("decode wrapping token %s: %w", u.lease.Account, err)
	}
	u.content, err = unseal(text, u.plan.Content)
	if errors.Is(err, errSealed) {
		return nil, invalid()
	}
	if err != nil {
		return nil, err
	}
	if r.Caller.Text.Equal(text) { // who bears it is known by nothing else
		r.Actor.Name = u.lease.Account
	}
	return u, nil
}

// Lookup serves sys/wrapping/lookup.
func (d *Desk) Lookup(ctx context.Context, r *request.Request) (*wire.Answer, error) {
	u, err := d.named(ctx, r)
	if err != nil {
		return nil, err
	}
	made := u.lease.IssuedAt
	if !u.lease.RenewedAt.IsZero() {
		made = u.lease.RenewedAt
	}
	return wire.OK(map[string]any{
		"creation_path": u.plan.Path, "creation_time": wire.Stamp(made), "creation_ttl": wire.Seconds(u.lease.TTL),
	}), nil
}

// Rewrap serves sys/wrapping/rewrap: the content under another text.
func (d *Desk) Rewrap(ctx context.Context, r *request.Request) (*wire.Answer, error) {
	u, err := d.named(ctx, r)
	if err != nil {
		return nil, err
	}
	text := retext(u.text)
	if u.plan.Content, err = seal(text, u.content); err != nil {
		return nil, err
	}
	frozen, err := json.Marshal(u.plan)
	if err != nil {
		return nil, fmt.Errorf("encode wrapping token: %w", err)
	}
	l, err := d.change(ctx, u.lease.ID, u.lease.Version, r.Actor, "it was rewrapped", lease.Rewrap{Plan: frozen}, r.Event(http.StatusOK))
	if err != nil {
		return nil, lost("rewrap", err)
	}
	answer := d.answer(&l, &u.plan, text, l.RenewedAt)
	answer.Undelivered = func(ctx context.Context) error { return d.withdraw(ctx, l.ID, r.Actor, "not delivered") }
	return answer, nil
}

// Unwrap serves sys/wrapping/unwrap: the content, once.
func (d *Desk) Unwrap(ctx context.Context, r *request.Request) (*wire.Answer, error) {
	u, err := d.named(ctx, r)
	if err != nil {
		return nil, err
	}
	opened := u.plan
	opened.Content = nil
	frozen, err := json.Marshal(opened)
	if err != nil {
		return nil, fmt.Errorf("encode wrapping token: %w", err)
	}
	body, err := d.unfold(ctx, u, r.ID) // before it is opened: this may fail
	if err != nil {
		return nil, err
	}
	// What was read is what is opened: the version says so.
	l, err := d.change(ctx, u.lease.ID, u.lease.Version, r.Actor, "", lease.Open{Plan: frozen}, r.Event(http.StatusOK))
	if err != nil {
		return nil, lost("open", err)
	}
	answer := &wire.Answer{Recorded: true, Bare: body}
	if l.Inside != "" {
		answer.Undelivered = func(ctx context.Context) error { return d.withdraw(ctx, l.Inside, r.Actor, "not delivered") }
	}
	return answer, nil
}

// lost says that others were faster, or that the store failed.
func lost(act string, err error) error {
	if errors.Is(err, lease.ErrOver) || errors.Is(err, lease.ErrVersion) || errors.Is(err, store.ErrNotFound) {
		return invalid()
	}
	return fmt.Errorf("%s wrapping token: %w", act, err)
}

// unfold is the content as it is answered: to this request, with the times that
// are left by now.
func (d *Desk) unfold(ctx context.Context, u *unopened, requestID string) (map[string]any, error) {
	var body map[string]any
	exact := json.NewDecoder(bytes.NewReader(u.content))
	exact.UseNumber()
	if err := exact.Decode(&body); err != nil {
		return nil, fmt.Errorf("decode wrapped answer: %w", err)
	}
	if _, ok := body["request_id"]; ok {
		body["request_id"] = requestID
	}
	if u.lease.Inside == "" {
		return body, nil
	}
	left, ended, err := d.left(ctx, u.lease.Inside)
	switch {
	case err != nil:
		return nil, err
	case ended:
		warnings, _ := body["warnings"].([]any)
		body["warnings"] = append(warnings, "what was wrapped has ended meanwhile: it was revoked, or its time is over")
		return body, nil
	case left == 0: // it never expires
		return body, nil
	}
	shorten(body, left)
	if auth, ok := body["auth"].(map[string]any); ok {
		shorten(auth, left)
	}
	return body, nil
}

// shorten sets the duration that an answer gives to at most what is left.
func shorten(answer map[string]any, left time.Duration) {
	number, _ := answer["lease_duration"].(json.Number)
	if said, err := number.Int64(); err == nil && said > 0 {
		answer["lease_duration"] = min(said, wire.Seconds(left))
	}
}

// left is how long a lease still lives; 0: for ever.
func (d *Desk) left(ctx context.Context, id lease.ID) (left time.Duration, ended bool, err error) {
	l, err := d.store.Get(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return 0, true, nil
	}
	if err != nil {
		return 0, false, fmt.Errorf("look up what was wrapped: %w", err)
	}
	now, err := d.store.Now(ctx)
	if err != nil {
		return 0, false, fmt.Errorf("look up what was wrapped: %w", err)
	}
	return l.Remaining(now), !l.Usable(now), nil
}
