//go:build e2e

package fault

import (
	"context"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	vault "github.com/hashicorp/vault/api"
	"github.com/jackc/pgx/v5"
	goredis "github.com/redis/go-redis/v9"

	"github.com/curfew-project/curfew/services/internal/config"
)

// freeze makes processes silent, as ones that hang are, until thaw.
func (r *racing) freeze(pids ...int) (thaw func()) {
	r.Helper()
	send := func(sig syscall.Signal) {
		for _, pid := range pids {
			if err := syscall.Kill(pid, sig); err != nil {
				r.Errorf("signal %d: %v", pid, err)
			}
		}
	}
	thaw = sync.OnceFunc(func() { send(syscall.SIGCONT) })
	r.Cleanup(thaw)
	send(syscall.SIGSTOP)
	return thaw
}

// pid is the process of a part.
func (r *racing) pid(name string) int {
	r.Helper()
	if f, ok := r.form.(*fleet); ok {
		return f.part(r, name).Pid()
	}
	if s, ok := r.form.(*single); ok {
		return s.child.Pid()
	}
	r.Fatalf("%s is no process that is known", name)
	return 0
}

// held are leases in claims, as the index has them.
func (r *racing) held(index *goredis.Client) (n int64) {
	r.Helper()
	keys := index.Scan(r.ctx, 0, "curfew:*:flight", 1000).Iterator()
	for keys.Next(r.ctx) {
		in, err := index.HLen(r.ctx, keys.Val()).Result()
		must(r, err, "count what is claimed")
		n += in
	}
	must(r, keys.Err(), "list what is claimed")
	return n
}

// index is a connection to the expiry index.
func (r *racing) index() *goredis.Client {
	r.Helper()
	f, ok := r.form.(*fleet)
	if !ok {
		r.Fatal("one machine has its index in memory")
	}
	c := config.Default()
	must(r, c.Read(filepath.Join(f.Dir, "revoker-1.hcl")), "read a configuration")
	index := goredis.NewClient(&goredis.Options{Addr: c.Redis.Addresses[0]})
	r.Cleanup(func() { _ = index.Close() })
	return index
}

// lapsed: a revoker is frozen while it holds claims; they lapse, and the other one
// takes what was in them away. Then the first goes on with what it had begun (C7).
func (r *racing) lapsed() {
	index := r.index()
	creds := r.racingLeases(12)
	// What revokers do waits in the target, so that both have claims.
	release := r.lock("LOCK TABLE pg_catalog.pg_authid IN EXCLUSIVE MODE")
	defer release()
	if !soon(hang, func() bool { return r.held(index) > 0 }) {
		r.Error("nobody claims what has run out")
		return
	}
	time.Sleep(rand.N(200 * time.Millisecond)) // any instant will do
	frozen := []string{"revoker-1", "revoker-2"}[rand.IntN(2)]
	thaw := r.freeze(r.pid(frozen))
	defer thaw()
	release()
	// Either the frozen one has claims now, which lapse; or none, and the round is
	// of less use.
	time.Sleep(time.Second) // for the other's own
	in := r.held(index)
	gone := soon(cleanWithin, func() bool {
		there := r.target.accounts(r)
		for _, c := range creds {
			if _, ok := there[c.user]; ok {
				return false
			}
		}
		return true
	})
	if !gone {
		r.Errorf("%s is frozen, and the other one does not take away what ran out", frozen)
	}
	r.tally(map[string]int{"claims that lapsed": int(min(in, 1)), "leases in them": int(in)})
	time.Sleep(rand.N(300 * time.Millisecond))
	thaw()
}

// racingLeases are some that run out soon.
func (r *racing) racingLeases(n int) (creds []credential) {
	r.Helper()
	var mu sync.Mutex
	r.each(n, func(_ int, c *vault.Client) {
		cred, err := r.issue(r.ctx, c, "database/creds/racing")
		if err != nil {
			return
		}
		r.book.ends(cred)
		mu.Lock()
		defer mu.Unlock()
		creds = append(creds, cred)
	})
	if len(creds) == 0 {
		r.Fatal("nothing is issued")
	}
	return creds
}

// lock holds a lock in the target until release.
func (r *racing) lock(sql string) (release func()) {
	r.Helper()
	conn, err := pgx.Connect(r.ctx, r.target.AdminURL(r.target.admin.Database))
	must(r, err, "log in as the superuser")
	release = sync.OnceFunc(func() { _ = conn.Close(context.WithoutCancel(r.ctx)) }) // that rolls back
	r.Cleanup(release)
	for _, text := range []string{"BEGIN", sql} {
		_, err = conn.Exec(r.ctx, text)
		must(r, err, text)
	}
	return release
}
