package postgres

import (
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/curfew-project/curfew/shared/store"
)

// fate is what an error that left nothing done means for its batch.
type fate int

const (
	// narrow: something in the batch is at fault, or too large for what is left
	// of the disk; the batch is halved (A6).
	narrow fate = iota
	// again: others were in the way, or the connection is gone; the same batch
	// is tried again.
	again
	// refuse: the database takes no writes of ours now; halving would only ask
	// it more often.
	refuse
)

// errIdentity: the database turned out to be another than it was (A7). The
// store is suspended by now; the batch is decided anew.
var errIdentity = errors.New("the database is not the one that it was")

// errBroken: the connection could not be made, or is gone.
var errBroken = errors.New("no connection to the database")

// errFenced: the serial of this place has moved on. It is read anew.
var errFenced = errors.New("the serial of the commit is taken")

// fateOf is the one place where errors of the database are judged.
func fateOf(err error) fate {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	switch {
	case errors.Is(err, errIdentity), errors.Is(err, errFenced):
		return again
	case !ok && errors.Is(err, errBroken):
		return again
	case !ok:
		return narrow // a value that cannot be encoded, a bug of ours
	}
	switch pg.Code {
	case "40001", "40P01", // serialization failure, deadlock
		"55P03",          // lock not available in time
		"23505",          // a row that was not there when it was looked for
		"0A000", "26000", // a cached plan is out of date; a prepared statement is gone
		"57P01", "57P02", "57P03", // the server stops, crashed, starts
		"25P03", // idle in transaction for too long: we were paused
		"55000": // the server has become a standby
		return again
	}
	switch pg.Code[:2] {
	case "08": // connection
		return again
	case "25", // read-only, or in a transaction that failed
		"28", "3D", "3F", "42", // no access; schema or table is missing
		"57", // cancelled: out of time
		"F0", "XX":
		return refuse
	}
	return narrow // 22, 23: data; 53: resources; 54: limits
}

// unavailable marks an error of a database that is away or takes no writes now,
// for callers: its own judgment (fateOf) is the same with and without the mark.
func unavailable(err error) error {
	switch {
	case err == nil, errors.Is(err, store.ErrUnknown), errors.Is(err, store.ErrUnavailable):
		return err
	case fateOf(err) != narrow, isResources(err):
		return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	return err
}

// isResources: the disk is full, or there are too many connections, or too
// little memory.
func isResources(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	return ok && strings.HasPrefix(pg.Code, "53")
}

// certain reports whether err says that the transaction ended without a
// commit. Anything else while a COMMIT is under way says nothing (A6).
func certain(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pg.SeverityUnlocalized == "ERROR"
}
