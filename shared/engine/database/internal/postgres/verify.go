package postgres

import (
	"context"
	"fmt"
	"strings"

	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/engine/database/internal/sqltext"
)

// Report is what [Target.Verify] found.
type Report struct {
	Identity
	Version  int // server_version_num: 150018
	Clock    Sample
	Findings []Finding
}

// Finding is something that a person should mend.
type Finding struct {
	// Code names the finding: "createrole", "pg_signal_backend", …
	Code string
	// Kind and Statement say which of a role's statements it is about, as far as
	// it is about one: "creation_statements", 2.
	Kind      string
	Statement int
	// SQLState is what the server answered, if it was asked.
	SQLState string
	// Text says what is wrong and what it means.
	Text string
	// Remedy is the statement that mends it, if one does.
	Remedy string
	// Fatal findings make revocations fail.
	Fatal bool
}

// Verify connects and looks whether the admin user can do what Curfew needs
// (C4), and whether the server keeps what it promises.
func (t *Target) Verify(ctx context.Context) (Report, error) {
	var r Report
	err := t.look(ctx, func(ctx context.Context, l *link) error {
		r = Report{Identity: l.facts.Identity, Version: l.facts.version}
		var err error
		if r.Clock, _, err = t.sample(ctx, l); err != nil {
			return err
		}
		got, err := l.query(ctx, `SELECT (`+streamsSQL+`)::pg_catalog.text, pg_catalog.current_setting('fsync')`)
		if err != nil {
			return err
		}
		r.Findings = t.findings(l.facts, got[0][0] == "true", got[0][1] == "on")
		return nil
	})
	return r, err
}

func (t *Target) findings(f facts, streams, fsync bool) []Finding {
	var out []Finding
	user := ident(f.user)
	if !f.createRole {
		out = append(out, Finding{
			Code: "createrole", Fatal: true, Remedy: "ALTER ROLE " + user + " CREATEROLE",
			Text: "the admin user may neither create nor drop roles",
		})
	}
	if !f.signals {
		out = append(out, Finding{
			Code: "pg_signal_backend", Remedy: "GRANT pg_signal_backend TO " + user,
			Text: "the admin user may end sessions of accounts only while they exist; sessions that outlive them stay",
		})
	}
	if f.logsErrors && !f.mutes {
		finding := Finding{
			Code: "log_min_error_statement",
			Text: "the server logs failed statements whole: verifiers of passwords appear in its log",
		}
		if f.version >= 150000 {
			finding.Remedy = "GRANT SET ON PARAMETER log_min_error_statement TO " + user
		}
		out = append(out, finding)
	}
	if streams && len(t.replicas) == 0 {
		out = append(out, Finding{
			Code: "replicas",
			Text: "standbys stream from this server and none is named as a replica: sessions there are not ended (C3)",
		})
	}
	if !fsync {
		out = append(out, Finding{
			Code: "fsync", Text: "fsync is off: a crash of the server can bring dropped accounts back",
		})
	}
	return out
}

// Lint looks at the statements of a plan for what works and does not last.
func Lint(p Plan) []Finding {
	s, err := p.Compile()
	if err != nil {
		return []Finding{{Code: "statements", Text: err.Error(), Fatal: true}}
	}
	var out []Finding
	if n := first(s.Creation, sqltext.Statement.PerUserGrant); n > 0 {
		out = append(out, Finding{
			Code: "per-user-grants", Kind: s.Creation.Kind().String(), Statement: n,
			Text: "creation_statements grant privileges to each account: that ends at about 2,400 live accounts for a table, " +
				"and is slow long before; grant them to a group role once and each account membership in it, " +
				"or write shared_grants=true to the role, and Curfew does",
		})
	}
	for _, script := range []sqltext.Script{s.Creation, s.Renewal, s.Revocation, s.Rollback} {
		if script.Len() > 0 && !script.Batchable() {
			out = append(out, Finding{
				Code: "alone", Kind: script.Kind().String(),
				Statement: first(script, func(st sqltext.Statement) bool { return !st.Batchable() }),
				Text:      script.Kind().String() + " hold statements that run in a transaction of their own for each lease",
			})
		}
	}
	return out
}

// LintShared looks at what stands beside shared grants: statements that work on
// rights of each account bring back what sharing does away with.
func LintShared(p Plan) []Finding {
	s, err := p.Compile()
	if err != nil {
		return nil // Lint says so
	}
	var out []Finding
	for _, script := range []sqltext.Script{s.Renewal, s.Revocation, s.Rollback} {
		if n := first(script, onRights); n > 0 {
			out = append(out, Finding{
				Code: "shared-grants", Kind: script.Kind().String(), Statement: n,
				Text: script.Kind().String() + " work on rights that the account does not have with shared_grants, and wait for each other " +
					"at that: leave them out, the account is dropped all the same",
			})
		}
	}
	return out
}

func onRights(st sqltext.Statement) bool {
	verb, _, _ := strings.Cut(st.Head(), " ")
	return st.Conflicting() && (verb == "GRANT" || verb == "REVOKE" || st.Head() == "ALTER DEFAULT")
}

// first is the number of the first statement that is so, or 0.
func first(s sqltext.Script, is func(sqltext.Statement) bool) int {
	for _, st := range s.Statements() {
		if is(st) {
			return st.Number()
		}
	}
	return 0
}

// Refusal is the error for findings that make a connection useless, or nil.
func (r Report) Refusal() error {
	var texts []string
	for _, f := range r.Findings {
		if f.Fatal {
			texts = append(texts, fmt.Sprintf("%s: %s", f.Text, f.Remedy))
		}
	}
	if len(texts) == 0 {
		return nil
	}
	return &engine.Error{Kind: engine.Refused, Message: strings.Join(texts, "; ")}
}
