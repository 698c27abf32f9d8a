package sqlite

import (
	"context"
	"fmt"
)

// BreakCommits lets a test fail commits in both ways; see hooks. It must be
// called before the store is used.
func (s *Store) BreakCommits(before, after func(units int) error) {
	s.writer.hooks = hooks{beforeCommit: before, afterCommit: after}
}

// LimitPages makes the disk full at a size of the database.
func (s *Store) LimitPages(ctx context.Context, pages int) error {
	_, err := s.writer.conn.ExecContext(ctx, fmt.Sprintf("PRAGMA max_page_count = %d", pages))
	return err
}

// LockDescriptor is the file descriptor of the lock.
func (s *Store) LockDescriptor() int { return int(s.lock.Fd()) }
