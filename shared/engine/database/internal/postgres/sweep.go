package postgres

import (
	"context"
	"errors"
	"strconv"

	"github.com/curfew-project/curfew/shared/engine/username"
)

// markShape is in every marked name, wherever its template puts the mark (B2).
const markShape = "[a-z2-7]{20}"

// Accounts lists names of accounts that may bear a mark, and of group roles in
// which none of them is, in order, after a name: whether they are ours is for
// the caller to recognise (B3).
func (t *Target) Accounts(ctx context.Context, after string, limit int) ([]string, error) {
	sql := `SELECT rolname::pg_catalog.text FROM pg_catalog.pg_roles r WHERE (rolname ~ ` + literal(markShape) +
		` OR pg_catalog.starts_with(rolname::pg_catalog.text, ` + literal(username.GroupPrefix) + `) AND NOT ` + populatedSQL + `)` +
		` AND rolname > ` + literal(after) + ` ORDER BY rolname`
	if limit > 0 {
		sql += " LIMIT " + strconv.Itoa(limit)
	}
	var out []string
	err := t.look(ctx, func(ctx context.Context, l *link) error {
		got, err := l.query(ctx, sql)
		out = make([]string, len(got))
		for i, row := range got {
			out[i] = row[0]
		}
		return err
	})
	return out, err
}

// EndGhosts ends sessions whose account no longer exists, on the primary and on
// the named replicas, and returns how many (C2). It goes on where one server
// fails.
func (t *Target) EndGhosts(ctx context.Context) (int, error) {
	lanes := []*lane{t.observe}
	for _, r := range t.replicas {
		lanes = append(lanes, r.lane)
	}
	var errs []error
	total := 0
	for _, on := range lanes {
		n := 0
		errs = append(errs, t.person(on.again(ctx, t.settings.Limits.Turn, func(ctx context.Context, l *link) (err error) {
			n, err = l.endGhosts(ctx)
			return err
		})))
		total += n
	}
	return total, errors.Join(errs...)
}

// endGhosts looks twice: an account may be created, and log in, after the
// snapshot of the first look was taken.
func (l *link) endGhosts(ctx context.Context) (int, error) {
	const ghosts = ` FROM pg_catalog.pg_stat_activity a WHERE a.usesysid <> 0
 AND NOT EXISTS (SELECT FROM pg_catalog.pg_roles r WHERE r.oid = a.usesysid)`
	got, err := l.query(ctx, `SELECT a.pid::pg_catalog.text, a.usesysid::pg_catalog.text`+ghosts)
	if err != nil || len(got) == 0 {
		return 0, err
	}
	pairs := list(got, func(row []string) string { return "(" + row[0] + "," + row[1] + ")" })
	got, err = l.query(ctx, `SELECT pg_catalog.pg_terminate_backend(a.pid)`+ghosts+` AND (a.pid, a.usesysid) IN (`+pairs+`)`)
	return len(got), err
}
