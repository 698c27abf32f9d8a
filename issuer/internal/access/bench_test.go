package access_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/issuer/internal/access"
	"github.com/curfew-project/curfew/issuer/internal/request"
	"github.com/curfew-project/curfew/issuer/internal/tokencache"
	"github.com/curfew-project/curfew/issuer/internal/tokens"
	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/secret"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/store/storetest"
)

// keys derives the key of hashes.
type keys struct{}

func (keys) Derive(purpose string) ([]byte, error) {
	return append(make([]byte, 32), purpose...)[:32], nil
}

// fifty writes 50 policies of 50 paths: 40 % exact, 40 % with a * at the end,
// 20 % with a + (half of them with a * too). It returns their names, in order.
func fifty(tb testing.TB, s store.Entries) (names []string) {
	tb.Helper()
	var w store.Write
	for p := range 50 {
		text := ""
		for i := range 50 {
			path := fmt.Sprintf("team-%d/database/creds/role-%d", p, i)
			switch i % 10 {
			case 0, 1, 2, 3:
				path += "/*"
			case 4:
				path = fmt.Sprintf("team-%d/+/creds/role-%d", p, i)
			case 5:
				path = fmt.Sprintf("+/database-%d/+/role-%d-*", p, i)
			}
			text += fmt.Sprintf("path %q {\n capabilities = [\"read\", \"update\", \"list\"]\n denied_parameters = { \"ttl\" = [\"0\"] }\n}\n", path)
		}
		name := fmt.Sprintf("policy-%02d", p)
		value, err := json.Marshal(map[string]string{"text": text})
		if err != nil {
			tb.Fatal(err)
		}
		names = append(names, name)
		w.Puts = append(w.Puts, store.Entry{Kind: store.KindPolicy, Key: name, Value: value})
	}
	if _, err := s.Write(tb.Context(), w); err != nil {
		tb.Fatal(err)
	}
	return names
}

// checker is what the API asks about each request.
type checker struct {
	desk  *access.Desk
	reg   *tokens.Registry
	cache *tokens.Cache
	text  secret.Value
	store store.Store
}

// newChecker has a token with fifty policies of fifty paths.
func newChecker(tb testing.TB, most int) *checker {
	tb.Helper()
	s := storetest.NewFake(clock.System{})
	c := &checker{store: s, cache: tokencache.New[*tokens.Known](clock.System{}, tokencache.Config{Max: most})}
	c.reg = tokens.New(s, keys{}, c.cache, zerolog.Nop(), lease.TTLs{Default: time.Hour, Max: time.Hour})
	c.desk = access.New(access.NewBook(s, clock.System{}, zerolog.Nop()), c.reg, nil)
	root, err := c.reg.Root(tb.Context(), secret.Value{}, lease.System("system:test"))
	if err != nil {
		tb.Fatal(err)
	}
	caller, actor, err := c.reg.Authenticate(tb.Context(), root, "127.0.0.1", "r")
	if err != nil {
		tb.Fatal(err)
	}
	made, err := c.reg.Create(tb.Context(), &request.Request{
		Path: "auth/token/create", Operation: engine.Write, Caller: caller, Actor: actor,
		Data: map[string]any{"policies": fifty(tb, s), "no_default_policy": true},
	})
	if err != nil {
		tb.Fatal(err)
	}
	c.text = made.Auth.Token
	return c
}

// check asks who bears the token and whether it may read path.
func (c *checker) check(ctx context.Context, path string) error {
	r := &request.Request{Path: path, Operation: engine.Read}
	var err error
	if r.Caller, r.Actor, err = c.reg.Authenticate(ctx, c.text, "127.0.0.1", "r"); err != nil {
		return err
	}
	return c.desk.Check(ctx, r)
}

// heard has the cache hear from the store.
func (c *checker) heard(tb testing.TB) {
	tb.Helper()
	f := tokencache.NewFollower(c.store, c.cache, clock.System{}, nil)
	if _, err := f.Do(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	if _, err := c.desk.Do(tb.Context()); err != nil {
		tb.Fatal(err)
	}
}

// BenchmarkCheck is the token and policy check of one request, by a token with
// 50 policies of 50 paths. Of the store there is nothing in it.
func BenchmarkCheck(b *testing.B) {
	for name, path := range map[string]string{
		"exact": "team-7/database/creds/role-9", "glob": "team-33/database/creds/role-12/a/b", "plus": "team-33/anything/creds/role-14",
	} {
		b.Run(name, func(b *testing.B) {
			c := newChecker(b, 0)
			b.ReportAllocs()
			for n := 0; b.Loop(); n++ {
				if n%10_000 == 0 {
					b.StopTimer()
					c.heard(b)
					b.StartTimer()
				}
				if err := c.check(b.Context(), path); err != nil {
					b.Fatal(err)
				}
			}
			if s := c.cache.Stats(); s.Hits < uint64(b.N)*9/10 {
				b.Errorf("of %d look-ups the cache answered %d", b.N, s.Hits)
			}
		})
	}
}
