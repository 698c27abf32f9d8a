package postgres

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/curfew-project/curfew/shared/engine/database/internal/sqltext"
	"github.com/curfew-project/curfew/shared/lease"
)

func ident(name string) string { return sqltext.Ident(name) }

func literal(text string) string { return sqltext.Literal(text) }

// role is an account as the catalogue has it.
type role struct {
	name  string
	oid   uint32
	login bool
	until time.Time // VALID UNTIL; zero: none or infinity
}

// untilSQL is VALID UNTIL of r in microseconds since 1970, empty without one.
const untilSQL = `CASE WHEN r.rolvaliduntil IS NULL OR pg_catalog.isfinite(r.rolvaliduntil) IS FALSE THEN ''
 ELSE (EXTRACT(epoch FROM r.rolvaliduntil) OPERATOR(pg_catalog.*) 1000000)::pg_catalog.int8::pg_catalog.text END`

// census is what the catalogue says about some accounts, who says so, and when.
type census struct {
	Identity
	recovery bool
	at       time.Time // the target's clock
	byName   map[string]role
	byOID    map[uint32]role
}

// find returns the account of a name or, where somebody renamed it, of an OID.
func (c *census) find(name string, oid uint32) (role, bool) {
	if r, ok := c.byName[name]; ok {
		return r, true
	}
	r, ok := c.byOID[oid]
	return r, ok && oid != 0
}

// count asks for accounts by names and by OIDs, in one query that also says
// which system answers (C6).
func (t *Target) count(ctx context.Context, l *link, names []string, oids []uint32) (*census, error) {
	before := t.clk.Now()
	got, err := l.query(ctx, countSQL(names, oids))
	if err != nil {
		return nil, err
	}
	return t.counted(before, got)
}

func countSQL(names []string, oids []uint32) string {
	return `SELECT i.*, COALESCE(r.rolname::pg_catalog.text, ''), COALESCE(r.oid, 0)::pg_catalog.text,
 COALESCE(r.rolcanlogin, false)::pg_catalog.text,
 ` + untilSQL + `
 FROM (SELECT ` + identitySQL + `, ` + clockSQL + `) i LEFT JOIN pg_catalog.pg_roles r ON r.rolname IN (` +
		list(names, literal) + `) OR r.oid IN (` + list(oids, oidText) + `)`
}

// counted reads what countSQL returned, which was asked at the local time before
// or later.
func (t *Target) counted(before time.Time, got [][]string) (_ *census, err error) {
	c := &census{byName: map[string]role{}, byOID: map[uint32]role{}}
	for _, row := range got {
		c.SystemID, c.recovery = row[0], row[1] == "true"
		if c.Timeline, err = strconv.ParseInt(row[2], 10, 64); err != nil {
			return nil, fmt.Errorf("read timeline: %w", err)
		}
		if c.at, err = microseconds(row[3]); err != nil {
			return nil, err
		}
		r := role{name: row[4], login: row[6] == "true"}
		oid, err := strconv.ParseUint(row[5], 10, 32)
		if err != nil {
			return nil, fmt.Errorf("read OID: %w", err)
		}
		if r.oid = uint32(oid); r.oid == 0 {
			continue
		}
		if row[7] != "" {
			if r.until, err = microseconds(row[7]); err != nil {
				return nil, err
			}
		}
		c.byName[r.name], c.byOID[r.oid] = r, r
	}
	t.clocks.note(before, c.at)
	return c, nil
}

// list writes the elements of an IN, which may not be empty.
func list[T any](values []T, write func(T) string) string {
	if len(values) == 0 {
		return "NULL"
	}
	out := make([]string, len(values))
	for i, v := range values {
		out[i] = write(v)
	}
	return strings.Join(out, ",")
}

func oidText(oid uint32) string { return strconv.FormatUint(uint64(oid), 10) }

// validUntil is Curfew's own word on when logins end (B8).
func validUntil(name string, until time.Time) string {
	return "ALTER ROLE " + ident(name) + " VALID UNTIL " + literal(stamp(until))
}

// stamp writes a time as the server reads it, whatever its DateStyle.
func stamp(t time.Time) string {
	if t.IsZero() {
		return "infinity"
	}
	return t.UTC().Format("2006-01-02 15:04:05.999999-07")
}

// identityOf is the system in which the account of a lease was seen, if any.
func identityOf(l *lease.Lease) Identity {
	h, err := DecodeHandle(l.Handle)
	if err != nil {
		return Identity{}
	}
	return h.Identity
}
