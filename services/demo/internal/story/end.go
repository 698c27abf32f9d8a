package story

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

const (
	// hangs is what no step takes unless something is broken.
	hangs = 30 * time.Second
	poll  = 50 * time.Millisecond
	// sameClock allows for the difference between two readings of one machine's
	// clock, where it was set in between.
	sameClock = 100 * time.Millisecond

	adminShutdown = "57P01" // what a client gets whose session is ended
)

func (s *story) renew(ctx context.Context) error {
	before, err := s.validUntil(ctx, s.second.user)
	if err != nil {
		return err
	}
	if err := s.run(ctx, "lease", "renew", "-increment="+increment.String(), s.second.lease); err != nil {
		return err
	}
	after, err := s.validUntil(ctx, s.second.user)
	if err != nil {
		return err
	}
	if !after.After(before) {
		return fmt.Errorf("VALID UNTIL in Postgres did not move from %s", before)
	}
	again, err := s.stage.Target.Login(ctx, s.second.user, s.second.password)
	if err != nil {
		return err
	}
	if err := again.Close(ctx); err != nil {
		return fmt.Errorf("close the second session: %w", err)
	}
	s.say("", "The password is the same: another login works. Postgres was told, too: its own",
		"VALID UNTIL moved from "+clockTime(before)+" to "+clockTime(after)+".")
	return nil
}

func (s *story) revoke(ctx context.Context) error {
	if err := s.run(ctx, "lease", "revoke", "-sync", s.first.lease); err != nil {
		return err
	}
	n, err := s.accounts(ctx, s.first.user)
	if err != nil {
		return err
	}
	if n != 0 {
		return fmt.Errorf("postgres still has the account %s", s.first.user)
	}
	conn, err := s.stage.Target.Login(ctx, s.first.user, s.first.password)
	if err == nil {
		return errors.Join(fmt.Errorf("%s can still log in", s.first.user), conn.Close(ctx))
	}
	var refused *pgconn.PgError
	if !errors.As(err, &refused) {
		return err
	}
	if !s.session.open() {
		return fmt.Errorf("the session of %s ended with the other lease: %w", s.second.user, s.session.err)
	}
	s.say("", "With -sync the answer waits for the proof. Postgres has no such account, and a",
		"login with its password is refused (SQLSTATE "+refused.Code+"). The session of the other",
		"account goes on.")
	return nil
}

func (s *story) expire(ctx context.Context) error {
	expires, err := s.expiry(ctx)
	if err != nil {
		return err
	}
	left := expires.Sub(s.clock.Now())
	s.say("Nobody does anything now. The lease of",
		s.second.user,
		fmt.Sprintf("ends at %s, in %s. Its session is still in its query.", clockTime(expires), left.Round(100*time.Millisecond)))
	if err := s.untilSessionEnds(ctx, left+hangs); err != nil {
		return err
	}
	late := s.session.at.Sub(expires)
	if late < -sameClock {
		return fmt.Errorf("the session was ended %s before the lease", -late)
	}
	s.say("", fmt.Sprintf("%d ms after the lease ended, the client in the session got:", late.Milliseconds()), "")
	s.quote(s.session.err.Error())
	if err := s.untilGone(ctx); err != nil {
		return err
	}
	s.say("", "Postgres has neither of the two accounts, and no session of theirs.")
	return nil
}

// expiry asks Curfew when the lease ends.
func (s *story) expiry(ctx context.Context) (time.Time, error) {
	out, err := s.stage.Client(ctx, "lease", "lookup", "-format=json", s.second.lease)
	if err != nil {
		return time.Time{}, err
	}
	var answer struct {
		Data struct {
			ExpireTime time.Time `json:"expire_time"`
		}
	}
	if err := json.Unmarshal([]byte(out.Stdout), &answer); err != nil {
		return time.Time{}, fmt.Errorf("look up the lease: %w", err)
	}
	return answer.Data.ExpireTime, nil
}

func (s *story) untilSessionEnds(ctx context.Context, within time.Duration) error {
	tick, stop := s.clock.Timer(within)
	defer stop()
	select {
	case <-s.session.ended:
	case <-tick:
		return fmt.Errorf("the session of %s is still open %s after its lease ended", s.second.user, hangs)
	case <-ctx.Done():
		return ctx.Err()
	}
	var ended *pgconn.PgError
	if !errors.As(s.session.err, &ended) || ended.Code != adminShutdown {
		return fmt.Errorf("the session was not ended by the server: %w", s.session.err)
	}
	return nil
}

// untilGone waits until nothing of the two credentials is left in the target.
func (s *story) untilGone(ctx context.Context) error {
	return s.until(ctx, func() error {
		accounts, err := s.accounts(ctx, s.first.user, s.second.user)
		if err != nil {
			return err
		}
		sessions, err := s.sessions(ctx, s.first.user, s.second.user)
		if err != nil {
			return err
		}
		if accounts+sessions > 0 {
			return fmt.Errorf("%w: postgres has %d accounts and %d sessions left", errNotYet, accounts, sessions)
		}
		return nil
	})
}

var errNotYet = errors.New("not within " + hangs.String())

// until tries again for as long as holds says errNotYet.
func (s *story) until(ctx context.Context, holds func() error) error {
	deadline := s.clock.Now().Add(hangs)
	for {
		err := holds()
		if !errors.Is(err, errNotYet) || s.clock.Now().After(deadline) {
			return err
		}
		tick, stop := s.clock.Timer(poll)
		select {
		case <-tick:
		case <-ctx.Done():
			stop()
			return ctx.Err()
		}
	}
}

func clockTime(t time.Time) string { return t.UTC().Format("15:04:05.000Z") }
