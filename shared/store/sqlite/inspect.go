package sqlite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/curfew-project/curfew/shared/clock"
)

// Inspect opens the store in dir, which must be there, to look at it: everything
// that would change it is refused with [ErrReadOnly]. It holds the directory's
// lock, so that no program writes meanwhile: [ErrLocked] if one has it. A store
// of an older program is left as it is ([ErrOlder]).
//
// What a killed program left in the log beside the database is read with it, and
// left there.
func Inspect(ctx context.Context, dir string, c clock.Clock) (_ *Store, err error) {
	s := &Store{fatal: make(chan struct{})}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("look at store: %w", err), s.release(ctx))
		}
	}()
	path, err := filepath.Abs(filepath.Join(dir, databaseName))
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(path); err != nil {
		return nil, err
	}
	if s.lock, err = lockFile(filepath.Join(dir, lockName)); err != nil {
		return nil, err
	}
	const readers = 2
	// The file itself is opened for reading only: nothing is brought from the log
	// into the database when the last connection closes.
	if s.readers, err = openReaders(dsn(path, "busy_timeout(10000)", "query_only(1)")+"&mode=ro", readers); err != nil {
		return nil, err
	}
	all, err := migrations()
	if err != nil {
		return nil, err
	}
	var have int
	if err := s.readers.QueryRowContext(ctx, `SELECT coalesce(max(version), 0) FROM schema_versions`).Scan(&have); err != nil {
		return nil, fmt.Errorf("read schema version: %w", err)
	}
	switch {
	case have > len(all):
		return nil, fmt.Errorf("%w: the database has schema %d, this program knows %d", ErrNewer, have, len(all))
	case have < len(all):
		return nil, fmt.Errorf("%w: the database has schema %d, this program needs %d: start the server once", ErrOlder, have, len(all))
	}
	if err := s.load(ctx, c); err != nil {
		return nil, err
	}
	return s, nil
}
