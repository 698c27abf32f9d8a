package sqlite

import (
	"context"
	"database/sql"
	"sync"
)

// reader runs statements on connections of the readers' pool, each on the one
// that is free.
type reader struct{ s *Store }

// statements are those of readers, prepared: parsing one costs more than most of
// them cost to run.
type statements struct {
	mu   sync.RWMutex
	kept map[string]*sql.Stmt // by text
}

// mostStatements bounds them: the texts of a few kinds of queries depend on what
// is asked for.
const mostStatements = 256

// prepared is nil for a statement that cannot be prepared, or not any more.
func (r reader) prepared(ctx context.Context, query string) *sql.Stmt {
	all := &r.s.statements
	all.mu.RLock()
	s, full := all.kept[query], len(all.kept) >= mostStatements
	all.mu.RUnlock()
	if s != nil || full {
		return s
	}
	made, err := r.s.readers.PrepareContext(ctx, query)
	if err != nil {
		return nil // running it says why
	}
	all.mu.Lock()
	defer all.mu.Unlock()
	if s = all.kept[query]; s != nil { // somebody was faster
		_ = made.Close() //nolint:sqlclosecheck // the other one is kept
		return s
	}
	if all.kept == nil {
		all.kept = map[string]*sql.Stmt{}
	}
	all.kept[query] = made
	return made
}

func (r reader) query(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	if s := r.prepared(ctx, query); s != nil { //nolint:sqlclosecheck // kept for the next
		return s.QueryContext(ctx, args...)
	}
	return r.s.readers.QueryContext(ctx, query, args...)
}

func (r reader) queryRow(ctx context.Context, query string, args ...any) *sql.Row {
	if s := r.prepared(ctx, query); s != nil { //nolint:sqlclosecheck // kept for the next
		return s.QueryRowContext(ctx, args...)
	}
	return r.s.readers.QueryRowContext(ctx, query, args...)
}
