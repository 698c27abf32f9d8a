package postgres

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/curfew-project/curfew/shared/engine"
)

// link is one open connection. One goroutine uses it at a time.
type link struct {
	dialer *dialer
	conn   *pgconn.PgConn
	facts  facts
	born   time.Time // local time at which it was dialled
	used   time.Time // local time

	done    int // commands of the current message that completed
	notices []noticed
}

// noticed is a warning with the number of commands that had completed before.
type noticed struct {
	after  int
	notice *pgconn.Notice
}

// facts are what a connection found out about its server.
type facts struct {
	Identity
	version    int // server_version_num
	recovery   bool
	user       string
	database   string
	superuser  bool
	createRole bool
	signals    bool // may end sessions of others
	mutes      bool // may set log_min_error_statement
	waits      bool // synchronous_commit waits for a standby to apply: kept
	logsErrors bool // failed statements are logged with their text
}

// createroleGrants is the version in which CREATEROLE became bounded by ADMIN
// OPTION, and grants got INHERIT and SET.
const createroleGrants = 160000

// quiet is for warnings that decide nothing.
const maxNotices = 1024

func (l *link) notice(_ *pgconn.PgConn, n *pgconn.Notice) {
	if len(l.notices) < maxNotices {
		l.notices = append(l.notices, noticed{l.done, n})
	}
}

// run sends one simple-query message and reads all that comes of it. completed
// holds the results of the commands that completed; an error belongs to the one
// after them.
func (l *link) run(ctx context.Context, sql string) (completed []*pgconn.Result, err error) {
	l.done, l.notices = 0, nil
	reader := l.conn.Exec(ctx, sql)
	for reader.NextResult() {
		result := reader.ResultReader().Read()
		if result.Err != nil {
			break // Close returns it
		}
		completed = append(completed, result)
		l.done++
	}
	return completed, reader.Close()
}

// query runs one statement under a search_path of its own, in a transaction
// that writes nothing.
func (l *link) query(ctx context.Context, sql string) ([][]string, error) {
	got, err := l.queries(ctx, sql)
	if err != nil {
		return nil, err
	}
	return got[0], nil
}

// queries runs statements one after the other, each as query does and in a
// transaction of its own, in one message. With an error there are no rows.
func (l *link) queries(ctx context.Context, statements ...string) ([][][]string, error) {
	before := "BEGIN READ ONLY;" + l.guard(l.dialer.limits.Turn) + ";SET LOCAL search_path=pg_catalog;"
	var sql strings.Builder
	for _, s := range statements {
		sql.WriteString(before + s + ";COMMIT;")
	}
	results, err := l.run(ctx, sql.String())
	if err != nil {
		return nil, l.rollback(ctx, err)
	}
	each := len(results) / len(statements)
	got := make([][][]string, len(statements))
	for i := range got {
		got[i] = rows(results[(i+1)*each-2]) // before its COMMIT
	}
	return got, nil
}

// guard bounds time inside the server; it also ends a transaction whose client
// is paused, which would hold its locks (B6).
func (l *link) guard(statement time.Duration) string {
	return "SET LOCAL statement_timeout=" + milliseconds(statement) +
		";SET LOCAL lock_timeout=" + milliseconds(l.dialer.limits.Lock) +
		";SET LOCAL idle_in_transaction_session_timeout=" + milliseconds(l.dialer.limits.Turn)
}

func milliseconds(d time.Duration) string { return strconv.FormatInt(max(1, d.Milliseconds()), 10) }

// rollback ends a transaction that failed with err, and returns err. A link
// that cannot is closed.
func (l *link) rollback(ctx context.Context, err error) error {
	if l.conn.IsClosed() || lost(err) {
		l.close(ctx)
		return err
	}
	if l.conn.TxStatus() == 'I' {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rollbackBudget) // what failed may be ctx
	defer cancel()
	if _, failed := l.run(ctx, "ROLLBACK"); failed != nil {
		l.close(ctx)
	}
	return err
}

const rollbackBudget = 2 * time.Second

func rows(r *pgconn.Result) [][]string {
	out := make([][]string, len(r.Rows))
	for i, row := range r.Rows {
		out[i] = make([]string, len(row))
		for j, v := range row {
			out[i][j] = string(v)
		}
	}
	return out
}

// close ends the connection, also after ctx has ended.
func (l *link) close(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rollbackBudget)
	defer cancel()
	_ = l.conn.Close(ctx) // nothing depends on an orderly end
}

// identitySQL are the columns that say who answers. The name of the current WAL
// file begins with the timeline; a standby has none, and its control file lags.
const identitySQL = `COALESCE((SELECT system_identifier::pg_catalog.text FROM pg_catalog.pg_control_system()), ''),
 pg_catalog.pg_is_in_recovery()::pg_catalog.text,
 CASE WHEN pg_catalog.pg_is_in_recovery() THEN (SELECT timeline_id::pg_catalog.text FROM pg_catalog.pg_control_checkpoint())
 ELSE (('x' || pg_catalog.substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, 8))::pg_catalog.bit(32)::pg_catalog.int8)::pg_catalog.text END`

// greet finds the facts out and refuses a server that is not the recorded one.
func (l *link) greet(ctx context.Context) error {
	got, err := l.query(ctx, `SELECT `+identitySQL+`,
 pg_catalog.current_setting('server_version_num'), CURRENT_USER::pg_catalog.text, pg_catalog.current_database()::pg_catalog.text,
 pg_catalog.current_setting('is_superuser'),
 pg_catalog.pg_has_role('pg_signal_backend', 'USAGE')::pg_catalog.text,
 (SELECT rolcreaterole::pg_catalog.text FROM pg_catalog.pg_roles WHERE rolname = CURRENT_USER),
 pg_catalog.current_setting('synchronous_commit'), pg_catalog.current_setting('log_min_error_statement')`)
	if err != nil {
		return l.unfit(err)
	}
	row := got[0]
	f := facts{Identity: Identity{SystemID: row[0]}, user: row[4], database: row[5]}
	f.recovery, f.superuser = row[1] == "true", row[6] == "on"
	f.signals = f.superuser || row[7] == "true"
	f.createRole = f.superuser || row[8] == "true"
	f.waits = row[9] == "remote_apply"
	f.logsErrors = row[10] != "panic" && row[10] != "fatal"
	if f.Timeline, err = strconv.ParseInt(row[2], 10, 64); err != nil {
		return fmt.Errorf("read timeline: %w", err)
	}
	if f.version, err = strconv.Atoi(row[3]); err != nil {
		return fmt.Errorf("read version: %w", err)
	}
	f.mutes = f.superuser
	if !f.superuser && f.version >= 150000 {
		got, err := l.query(ctx, `SELECT pg_catalog.has_parameter_privilege('log_min_error_statement', 'SET')::pg_catalog.text`)
		if err != nil {
			return l.unfit(err)
		}
		f.mutes = got[0][0] == "true"
	}
	l.facts = f
	return l.recognise()
}

func (l *link) unfit(err error) error {
	if hasCode(err, codePrivilege) && strings.Contains(pgError(err).Message, "pg_control") {
		user := ident(l.dialer.config.User)
		return &engine.Error{
			Kind: engine.Refused, Err: err,
			Message: "the admin user may not read which system this is (SQLSTATE 42501): GRANT EXECUTE ON FUNCTION " +
				"pg_catalog.pg_control_system(), pg_catalog.pg_control_checkpoint() TO " + user,
		}
	}
	return l.dialer.explain(l.dialer.config.Database, err)
}

// recognise compares who answers with what is recorded (C6).
func (l *link) recognise() error {
	d := l.dialer
	if want := d.identity.SystemID; want != "" && want != l.facts.SystemID {
		return moved(want, l.facts.SystemID)
	}
	if l.facts.recovery != d.standby {
		text := "the target answers, but it is a standby: point the connection to the primary"
		if d.standby {
			text = "a server named as replica is no standby: it was promoted, or the connection names the wrong one"
		}
		return &engine.Error{Kind: engine.Unreachable, Message: text}
	}
	return nil
}

func moved(want, got string) *engine.Error {
	return &engine.Error{
		Kind: engine.Refused,
		Message: fmt.Sprintf("target moved: another system answers (system identifier %s, recorded is %s); "+
			"if that is intended, write the connection again to confirm it", got, want),
	}
}
