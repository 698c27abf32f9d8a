package inspect

import (
	"context"
	"errors"
	"time"

	"github.com/curfew-project/curfew/issuer/internal/request"
	"github.com/curfew-project/curfew/issuer/internal/wire"
	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/fsck"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

const (
	defaultPage = 1000
	maxPage     = 5000
)

// Desk answers.
type Desk struct{ local *fsck.Local }

// New returns a desk. tail, which may be nil, asks for the end of the stream.
func New(s fsck.LocalStore, engines map[string]engine.Engine, tail func(context.Context) *fsck.Tail) *Desk {
	l := fsck.NewLocal(s, engines)
	l.Tail = tail
	return &Desk{local: l}
}

// Standing serves GET sys/fsck.
func (d *Desk) Standing(ctx context.Context, _ *request.Request) (*wire.Answer, error) {
	st, err := d.local.Standing(ctx)
	if err != nil {
		return nil, err
	}
	return wire.OK(map[string]any{"standing": st}), nil
}

// Leases serves GET sys/fsck/leases.
func (d *Desk) Leases(ctx context.Context, r *request.Request) (*wire.Answer, error) {
	var rows []fsck.Row
	err := errTwoQuestions
	switch f := r.Fields(); {
	case questions(f) > 1:
	case f.Has("account"):
		rows, err = d.named(ctx, f)
	case f.Has("id"):
		rows, err = d.one(ctx, f)
	case f.Has("overdue"):
		rows, err = d.overdue(ctx, f)
	default:
		rows, err = d.page(ctx, f)
	}
	if errors.Is(err, errTwoQuestions) {
		return nil, wire.Invalid("account, id, overdue and after are different questions: ask one")
	}
	if err != nil {
		return nil, err
	}
	if rows == nil {
		rows = []fsck.Row{}
	}
	return wire.OK(map[string]any{"leases": rows}), nil
}

var errTwoQuestions = errors.New("two questions")

func questions(f wire.Fields) (n int) {
	for _, name := range []string{"account", "id", "overdue", "after"} {
		if f.Has(name) {
			n++
		}
	}
	return n
}

func (d *Desk) named(ctx context.Context, f wire.Fields) ([]fsck.Row, error) {
	account, err := f.String("account")
	if err != nil {
		return nil, err
	}
	if account == "" {
		return nil, wire.Invalid("account is empty")
	}
	return d.local.Named(ctx, account)
}

func (d *Desk) one(ctx context.Context, f wire.Fields) ([]fsck.Row, error) {
	id, err := f.String("id")
	if err != nil {
		return nil, err
	}
	row, found, err := d.local.Lease(ctx, lease.ID(id))
	if err != nil || !found {
		return nil, err
	}
	return []fsck.Row{row}, nil
}

func (d *Desk) overdue(ctx context.Context, f wire.Fields) ([]fsck.Row, error) {
	since, err := f.Duration("overdue")
	if err != nil {
		return nil, err
	}
	limit, err := limitOf(f)
	if err != nil {
		return nil, err
	}
	return d.local.Overdue(ctx, max(since, time.Second), limit)
}

func (d *Desk) page(ctx context.Context, f wire.Fields) ([]fsck.Row, error) {
	after, err := f.String("after")
	if err != nil {
		return nil, err
	}
	limit, err := limitOf(f)
	if err != nil {
		return nil, err
	}
	return d.local.Leases(ctx, lease.ID(after), limit)
}

// Accounts serves GET sys/fsck/accounts/<target>.
func (d *Desk) Accounts(ctx context.Context, r *request.Request, target string) (*wire.Answer, error) {
	after, err := r.Fields().String("after")
	if err != nil {
		return nil, err
	}
	limit, err := limitOf(r.Fields())
	if err != nil {
		return nil, err
	}
	names, err := d.local.Accounts(ctx, target, after, limit)
	if errors.Is(err, store.ErrNotFound) {
		return nil, wire.Nothing()
	}
	if err != nil {
		return nil, err
	}
	if names == nil {
		names = []string{}
	}
	return wire.OK(map[string]any{"accounts": names}), nil
}

// limitOf is how many are asked for.
func limitOf(f wire.Fields) (int, error) {
	n, err := f.Int("limit")
	switch {
	case err != nil:
		return 0, err
	case n == 0:
		n = defaultPage
	case n > maxPage:
		return 0, wire.Invalid("limit is above %d", maxPage)
	}
	return n, nil
}
