package lease

import (
	"fmt"
	"time"
)

// ReasonUsedUp is the reason of a token's end by its last use.
const ReasonUsedUp = "its last use was made"

// Use takes one of the uses of a token. The last one puts it into revoking: the
// request that it was taken for is still served, and nothing after it. ErrOver
// where the token is over by now's clock or used up, ErrMove for one whose uses
// are not counted.
type Use struct{}

func (Use) apply(l *Lease, c *Change, now time.Time) error {
	switch {
	case !l.Usable(now):
		return fmt.Errorf("%w: use in state %q", ErrOver, l.State)
	case l.Kind != Token || l.Uses < 1:
		return fmt.Errorf("%w: its uses are not counted", ErrMove)
	}
	if l.Uses--; l.Uses > 0 {
		return nil
	}
	l.revoke(c, now, now)
	if l.Revocation.Reason == "" {
		l.Revocation.Reason = ReasonUsedUp
	}
	return nil
}

// miss takes off the uses that may have been made in versions which the row did
// not see (A7): a token of limited uses is never used more often than was
// granted. One that is active had at least one use left.
func (l *Lease) miss(versions int64) {
	if l.Uses > 0 {
		l.Uses = int(max(1, int64(l.Uses)-versions))
	}
}
