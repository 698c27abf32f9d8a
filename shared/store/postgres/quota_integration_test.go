//go:build integration

package postgres

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

func beginning(path string) store.Transition {
	return store.Transition{Change: lease.Change{
		ID: lease.NewID(path), Key: lease.RandomBase62(8), By: lease.System("system:test"),
		Do: lease.Begin{Lease: lease.Lease{Kind: lease.Secret, Target: "t"}},
	}}
}

// Law: where no quota governs a beginning, nobody waits at the lock of quotas;
// where one does, everybody.
func TestLockOfQuotas(t *testing.T) {
	t.Parallel()
	c, cfg, in := fresh(t)
	s, err := Open(t.Context(), clock.System{}, zerolog.Nop(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	value, _ := store.QuotaValue(10)
	if _, err := s.Write(t.Context(), store.Write{Puts: []store.Entry{{Kind: store.KindLeaseQuota, ID: "q", Key: "/database/", Value: value}}}); err != nil {
		t.Fatal(err)
	}
	held, err := c.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := held.Exec(t.Context(), `SELECT pg_advisory_xact_lock($1)`, in.quotaKey()); err != nil {
		t.Fatal(err)
	}
	if out := s.Apply(t.Context(), beginning("aws/sts/x")); out[0].Err != nil {
		t.Errorf("a beginning that no quota governs: %v", out[0].Err)
	}
	var let atomic.Bool
	var wg sync.WaitGroup
	ctx := context.WithoutCancel(t.Context())
	wg.Go(func() {
		if out := s.Apply(ctx, beginning("database/creds/a")); out[0].Err != nil || !let.Load() {
			t.Errorf("a beginning that a quota governs: %v; the lock was free: %t", out[0].Err, let.Load())
		}
	})
	for waits := false; !waits; { // it has come to the lock
		err := held.QueryRow(t.Context(), `SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
			AND ((classid::bigint << 32) | objid::bigint) = $1)`, in.quotaKey()).Scan(&waits)
		if err != nil {
			t.Fatal(err)
		}
	}
	let.Store(true)
	if err := held.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
}

// Law: a quota holds over several processes that begin and end leases at once,
// and the counts are those of the rows.
func TestQuotaOverProcesses(t *testing.T) {
	t.Parallel()
	_, cfg, in := fresh(t)
	const processes, each, rounds, most = 3, 8, 6, 20
	var all []*Store
	for range processes {
		s, err := Open(t.Context(), clock.System{}, zerolog.Nop(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = s.Close() }()
		all = append(all, s)
	}
	value, _ := store.QuotaValue(most)
	if _, err := all[0].Write(t.Context(), store.Write{Puts: []store.Entry{{Kind: store.KindLeaseQuota, ID: "q", Key: "/database/", Value: value}}}); err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	var wg sync.WaitGroup
	var refused atomic.Int64
	for _, s := range all {
		for n := range each {
			wg.Go(func() {
				for range rounds {
					b := beginning(fmt.Sprintf("database/creds/r%d", n))
					out := s.Apply(ctx, b)[0]
					if errors.Is(out.Err, store.ErrQuota) {
						refused.Add(1)
						continue
					}
					if n, err := s.Count(ctx, store.Query{Prefix: "database/", States: []lease.State{lease.Intent, lease.Active, lease.Revoking}}); err != nil || n > most {
						t.Errorf("%d leases live (%v), the quota is %d", n, err, most)
					}
					for _, do := range []lease.Action{lease.Revoke{}, lease.Finish{To: lease.Revoked}} {
						if n%4 == 0 {
							break // some stay
						}
						end := store.Transition{Change: lease.Change{ID: b.Change.ID, Version: lease.AnyVersion, Key: lease.RandomBase62(8), Do: do}}
						if out := s.Apply(ctx, end)[0]; out.Err != nil {
							t.Errorf("%T: %v", do, out.Err)
						}
					}
				}
			})
		}
	}
	wg.Wait()
	if refused.Load() == 0 {
		t.Error("the quota refused nothing")
	}
	for _, path := range []string{"", "database/", "database/creds/", "database/creds/r0/", "database/creds/r1/"} {
		n, err := all[1].Living(ctx, path)
		if err != nil {
			t.Fatal(err)
		}
		var want int64
		row := all[1].reads.QueryRow(ctx, in.in(`SELECT count(*) FROM {s}.leases WHERE NOT ended AND starts_with(id, $1)`), path)
		if err := row.Scan(&want); err != nil || n != want {
			t.Errorf("below %q live %d (%v), counted are %d", path, want, err, n)
		}
	}
}
