//go:build e2e

package fault

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	vault "github.com/hashicorp/vault/api"
)

// Faults of others on the same target, and of what people write.

// installations: another installation on the target, and a copy of that one. No
// account is taken for a stray by who did not make it, nor by a copy (B3).
func (s *trial) installations() time.Time {
	form := unstarted(s, s.w.form.programs())
	other := &world{form: form, target: s.g, book: newBook()}
	other.again(s.T)
	other.root = form.token(s)
	c := other.client(s)
	s.g.setUp(s, c)
	issue := func() credential {
		s.Helper()
		cred, err := other.issue(s.Context(), c, s.g.mount+"/creds/app")
		must(s, err, "issue")
		return cred
	}
	// Sweeps come round in both: what is a stray of theirs they take away, each.
	ours, theirs, copied := s.hold("app"), issue(), issue()
	mine, yours := s.hold("app"), issue()
	s.end(mine, true)
	must(s, revoke(s.Context(), c, yours, true), "revoke")
	for _, cred := range []credential{mine, yours} {
		s.w.book.note(func() { s.w.book.remade[cred.user] = true })
		s.sql(fmt.Sprintf("CREATE ROLE %q", cred.user))
	}
	s.gone(mine, yours)
	works := func(creds ...credential) {
		s.Helper()
		for _, cred := range creds {
			must(s, s.g.login(s.Context(), cred.user, cred.password), "log in")
		}
	}
	works(ours, theirs, copied)
	s.rounds++
	// A copy of the other one, which has no lease for what is issued afterwards.
	form.stop(s)
	twin := unstarted(s, s.w.form.programs())
	copyTree(s, form.dir, twin.dir)
	other.again(s.T)
	again := &world{form: twin, target: s.g, book: newBook(), root: other.root}
	again.again(s.T)
	fresh := issue()
	s.eventually(cleanWithin, "the copy reports an account that it has no lease for", func() bool {
		return slices.Contains(again.reported(s), fresh.user)
	})
	time.Sleep(3 * time.Second) // for some rounds of its sweep
	works(ours, theirs, copied, fresh)
	s.rounds++
	twin.kill(s)
	must(s, c.Sys().UnmountWithContext(s.Context(), s.g.mount), "disable the engine of the other installation")
	s.gone(theirs, copied, fresh)
	works(ours)
	s.eventually(hang, "the other installation takes its mark along", func() bool {
		return value[int](s, "SELECT count(*) FROM pg_roles WHERE starts_with(rolname, 'curfew-owner-')") == 1
	})
	form.stop(s)
	return time.Now()
}

// reported are the accounts that an installation found and left alone.
func (w *world) reported(s *trial) (all []string) {
	s.Helper()
	var answer struct {
		Data struct {
			Strays []struct{ Accounts []string }
		}
	}
	body, err := w.get(s, "/v1/sys/installation")
	must(s, err, "read the installation")
	must(s, json.Unmarshal(body, &answer), "read the installation")
	for _, of := range answer.Data.Strays {
		all = append(all, of.Accounts...)
	}
	return all
}

// plain is a name of an account, whatever asked for it (B2).
var plain = regexp.MustCompile(`^v-[a-z0-9-]{1,8}-[a-z0-9-]{1,8}-[a-z2-7]{20}-[0-9]+$`)

// hostile: display names and statements that would reach beyond their lease (B2,
// B4), beside accounts that are made in the same batches (B5).
func (s *trial) hostile() time.Time {
	for _, text := range []string{
		`ROLLBACK; BEGIN; SAVEPOINT s`, `COMMIT`, `/**/ end`, `PREPARE TRANSACTION 'x'`, `COPY items TO PROGRAM 'true'`, `LISTEN x`,
		`SET standard_conforming_strings = off`, `GRANT readers TO {{name}}`, `SELECT 'open`, `DO $x$ BEGIN`,
	} {
		data := role(longTTL)
		data["creation_statements"] = creation + text
		if _, err := s.c.Logical().Write(s.g.mount+"/roles/refused", data); err == nil || unclear(err) {
			s.Errorf("%q is not refused: %v", text, err)
		}
		s.rounds++
	}
	before := value[int](s, "SELECT count(*) FROM items")
	s.sql("CREATE SCHEMA evil", `CREATE FUNCTION evil.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS $$ SELECT 'infinity'::timestamptz $$`,
		"GRANT USAGE ON SCHEMA evil TO PUBLIC")
	works := map[string]string{
		"path":    `SET search_path = evil;`,
		"config":  `SELECT pg_catalog.set_config('search_path', 'evil', false);`,
		"become":  `SET ROLE readers;`,
		"nested":  `DO $$ BEGIN EXECUTE 'SET search_path = evil'; END $$;`,
		"quotes":  `COMMENT ON ROLE "{{name}}" IS 'it''s; DROP ROLE "{{name}}"; --';`,
		"settled": `SET statement_timeout = 0; SET lock_timeout = 0; SET idle_in_transaction_session_timeout = 0;`,
	}
	fails := map[string]string{
		"commits": `DO $$ BEGIN COMMIT; END $$;`,
		"nobody":  `GRANT nobody_of_that_name TO "{{name}}";`,
		"syntax":  `GRANT GRANT;`,
		"divides": `DO $$ BEGIN PERFORM 1/0; END $$;`,
	}
	accepted := map[string]bool{}
	for name, more := range works {
		accepted[name] = s.tries(name, more)
	}
	for name, more := range fails {
		accepted[name] = s.tries(name, more)
	}
	var mu sync.Mutex
	var all sync.WaitGroup
	for name, ok := range accepted {
		if !ok {
			continue // when it was written
		}
		c := s.named("a\"; DROP ROLE postgres; --" + strings.Repeat("é'", 40))
		all.Go(func() {
			for range 3 {
				cred, err := s.w.issue(s.Context(), c, s.g.mount+"/creds/"+name)
				mu.Lock()
				s.rounds++
				mu.Unlock()
				_, bad := fails[name]
				switch {
				case err == nil && bad:
					s.Errorf("the role %s was issued", name)
				case err != nil && !bad:
					s.Errorf("the role %s was not issued: %v", name, err)
				case err == nil && !plain.MatchString(cred.user):
					s.Errorf("an account is named %q", cred.user)
				}
				if err == nil {
					s.w.book.hold(cred)
				}
			}
		})
	}
	// Neighbours in the same batches.
	for range 4 {
		c := s.w.client(s)
		all.Go(func() {
			for range 15 {
				cred, err := s.w.issue(s.Context(), c, s.g.mount+"/creds/app")
				if err != nil {
					s.Errorf("a neighbour was not issued: %v", err)
					continue
				}
				s.w.book.hold(cred)
			}
		})
	}
	all.Wait()
	if n := value[int](s, "SELECT count(*) FROM items"); n != before {
		s.Errorf("there are %d items, there were %d", n, before)
	}
	return time.Now()
}

// tries writes a role, and reports whether it was taken.
func (s *trial) tries(name, more string) bool {
	s.Helper()
	data := role(longTTL)
	data["creation_statements"] = creation + more
	_, err := s.c.Logical().Write(s.g.mount+"/roles/"+name, data)
	if err != nil {
		s.Logf("the role %s was refused when it was written: %v", name, err)
	}
	return err == nil
}

// named is a client with a token that is displayed so.
func (s *trial) named(display string) *vault.Client {
	s.Helper()
	a, err := s.c.Auth().Token().Create(&vault.TokenCreateRequest{DisplayName: display, TTL: "1h"})
	must(s, err, "make a token")
	c, err := as(s.w.client(s), a.Auth.ClientToken)
	must(s, err, "make a client")
	return c
}
