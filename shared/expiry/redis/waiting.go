package redis

import (
	"context"
	"fmt"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/curfew-project/curfew/shared/expiry"
	"github.com/curfew-project/curfew/shared/lease"
)

// Waiting implements [expiry.Lister]: of one time in the order of the ids.
func (x *Index) Waiting(ctx context.Context, target string, until time.Time, skip, limit int) ([]expiry.Member, error) {
	if limit <= 0 {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, x.timeout)
	defer cancel()
	found, err := x.client.ZRangeArgsWithScores(ctx, goredis.ZRangeArgs{ // a command that our ACL has
		Key: x.targetKeys(target)[0], ByScore: true, Start: "-inf", Stop: dueScore(until),
		Offset: int64(skip), Count: int64(min(limit, claimed)),
	}).Result()
	if err != nil {
		return nil, fmt.Errorf("list leases that wait: %w", err)
	}
	out := make([]expiry.Member, len(found))
	for i, z := range found {
		id, err := text(z.Member)
		if err != nil {
			return nil, fmt.Errorf("list leases that wait: %w", err)
		}
		out[i] = expiry.Member{ID: lease.ID(id), Target: target, At: time.UnixMicro(int64(z.Score))}
	}
	return out, nil
}

var _ expiry.Lister = (*Index)(nil)
