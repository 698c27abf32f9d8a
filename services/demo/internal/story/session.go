package story

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/curfew-project/curfew/shared/clock"
)

// session is a client that is logged in and in the middle of something.
type session struct {
	conn   *pgx.Conn
	cancel context.CancelFunc
	done   sync.WaitGroup

	ended chan struct{} // closed when the query has ended; then:
	at    time.Time
	err   error
}

// hold starts a query that ends only with the session.
func hold(conn *pgx.Conn, c clock.Clock) *session {
	ctx, cancel := context.WithCancel(context.Background())
	s := &session{conn: conn, cancel: cancel, ended: make(chan struct{})}
	s.done.Go(func() {
		_, s.err = conn.Exec(ctx, "SELECT pg_sleep(3600)")
		s.at = c.Now()
		close(s.ended)
	})
	return s
}

// close ends the session if it still is there.
func (s *session) close() error {
	s.cancel()
	s.done.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := s.conn.Close(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("close the session: %w", err)
	}
	return nil
}

func (s *session) open() bool {
	select {
	case <-s.ended:
		return false
	default:
		return true
	}
}
