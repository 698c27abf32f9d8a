package database

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/engine/database/internal/postgres"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

// handleCheck serves roles/<name>/check. Nothing is changed by it, here or in
// the target, so that reading is as good as writing.
func (e *Engine) handleCheck(ctx context.Context, r *engine.Request, name string) (*engine.Response, error) {
	if r.Operation != engine.Read && r.Operation != engine.Write {
		return nil, unsupportedOperation()
	}
	ro, entry, err := e.roleByName(ctx, r.MountID, name)
	if err != nil {
		return nil, err
	}
	if ro == nil {
		return nil, nothing()
	}
	c, err := e.mustConnection(ctx, r.MountID, ro.DBName)
	if err != nil {
		return nil, err
	}
	var findings []postgres.Finding
	if !c.allows(name) {
		findings = append(findings, postgres.Finding{
			Code: "allowed-roles", Fatal: true, Text: fmt.Sprintf("%q is not an allowed role", name),
			Remedy: "add it to allowed_roles of config/" + ro.DBName,
		})
	}
	play, err := e.rehearsal(ctx, r, ro, entry, c)
	var refused *engine.Error
	switch {
	case errors.As(err, &refused) && refused.Kind == engine.Invalid:
		// What a creation would be refused for before the target hears of it.
		findings = append(findings, postgres.Finding{Code: "refused", Fatal: true, Text: refused.Message})
	case err != nil:
		return nil, err
	}
	more, err := e.tryOut(ctx, c.entry.ID, play, refused == nil)
	if err != nil {
		return nil, listed(err)
	}
	findings = append(append(findings, ro.findings()...), more...)
	return checked(ro, findings), nil
}

// rehearsal is a life of an account that no lease stands for.
func (e *Engine) rehearsal(
	ctx context.Context, r *engine.Request, ro *role, entry store.Entry, c *stored,
) (out postgres.Rehearsal, err error) {
	if out.Plan, err = ro.plan(entry, &c.connection, c.entry.ID); err != nil {
		return out, err
	}
	if ro.Shared {
		if out.Group, err = e.rehearsedGroup(ctx, ro); err != nil {
			return out, err
		}
		out.Plan.Group = out.Group.Name
	}
	if out.Password, err = e.password(ctx, cmp.Or(ro.Policy, c.Policy), &out.Plan); err != nil {
		return out, err
	}
	// Nobody ever has a lease of this id: what stayed would be a stray (B3).
	out.Name, err = e.account(ctx, &c.connection, r.Actor.DisplayName, ro.Name, lease.NewID(r.Mount+r.Path))
	return out, err
}

// tryOut looks at the connection and, where play says, at the role's statements
// on the target.
func (e *Engine) tryOut(ctx context.Context, id string, play postgres.Rehearsal, plays bool) ([]postgres.Finding, error) {
	var out []postgres.Finding
	err := e.use(ctx, id, func(o *opened, _ *stored) error {
		report, err := o.Verify(ctx)
		if err != nil {
			return err
		}
		out = report.Findings
		if !plays {
			return nil
		}
		found, err := o.Rehearse(ctx, play)
		out = append(found, out...)
		return err
	})
	return out, err
}

// checked is the answer: ok says that a credential can be issued, renewed and
// revoked as far as could be tried out.
func checked(ro *role, findings []postgres.Finding) *engine.Response {
	list := []map[string]any{}
	slices.SortStableFunc(findings, func(a, b postgres.Finding) int { return cmp.Compare(severity(a), severity(b)) })
	ok := true
	for _, f := range findings {
		ok = ok && !f.Fatal
		list = append(list, map[string]any{
			"severity": severity(f), "code": f.Code, "message": f.Text, "remedy": f.Remedy,
			"statements": f.Kind, "statement": f.Statement, "sqlstate": f.SQLState,
		})
	}
	return &engine.Response{Data: map[string]any{"role": ro.Name, "db_name": ro.DBName, "ok": ok, "findings": list}}
}

func severity(f postgres.Finding) string {
	if f.Fatal {
		return "error"
	}
	return "warning"
}
