package database

import (
	"context"

	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/engine/database/internal/postgres"
	"github.com/curfew-project/curfew/shared/lease"
)

// verify opens a connection as it would be stored, records which system
// answers, and returns what a person should mend (C4).
func (e *Engine) verify(ctx context.Context, s *stored) ([]string, error) {
	var report postgres.Report
	err := e.trial(ctx, s, func(t *postgres.Target) (err error) {
		report, err = t.Verify(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	s.Identity = report.Identity
	return warnings(report.Findings), nil
}

// trialError reports what is wrong with a connection's settings, as far as can
// be told without the server.
func (e *Engine) trialError(ctx context.Context, s *stored) error {
	return e.trial(ctx, s, func(*postgres.Target) error { return nil })
}

// trial makes a target of a connection that is not stored yet. Whichever system
// answers is the right one.
func (e *Engine) trial(ctx context.Context, s *stored, do func(*postgres.Target) error) error {
	current, pending, err := e.passwords(&s.connection)
	if err != nil {
		return err
	}
	settings, err := e.settings(&s.connection)
	if err != nil {
		return err
	}
	settings.Identity = postgres.Identity{}
	t, err := postgres.New(given{current, pending}, e.clock, e, settings) //nolint:contextcheck // its batches follow no caller (A8)
	if err == nil {
		err = do(t)
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closing)
		defer cancel()
		if closing := t.Close(ctx); closing != nil {
			e.log.Warn().Err(closing).Msg("the session of a verification was not closed in time")
		}
	}
	if err == nil {
		return nil
	}
	// Whatever it was, the request did not describe a connection that works.
	failed := engine.AsError(err)
	return &engine.Error{Kind: engine.Invalid, Message: "error creating database object: " + failed.Message, Err: failed.Err}
}

// warnings words findings for the answer to a write.
func warnings(findings []postgres.Finding) []string {
	var out []string
	for _, f := range findings {
		text := f.Text
		if f.Remedy != "" {
			text += ": " + f.Remedy
		}
		out = append(out, text)
	}
	return out
}

// lint says of a role what works but will hurt.
func (r *role) lint() []string { return warnings(r.findings()) }

func (r *role) findings() []postgres.Finding {
	p := postgres.Plan{Creation: r.Creation, Renewal: r.Renewal, Revocation: r.Revocation, Rollback: r.Rollback}
	if !r.Shared {
		return postgres.Lint(p)
	}
	if own, _, err := r.share(); err == nil {
		p.Creation = own.Sources()
	}
	return append(postgres.Lint(p), postgres.LintShared(p)...)
}

// Note implements [postgres.Notes].
func (e *Engine) Note(id lease.ID, text string) {
	e.log.Warn().Str("lease", string(id)).Str("note", text).Msg("a revocation had to go round a role's statements")
}
