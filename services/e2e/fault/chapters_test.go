//go:build e2e

package fault

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	vault "github.com/hashicorp/vault/api"
)

// chapter is a part of what clients do, that brings every outbound call about.
// Its requests may fail: whoever listens may be killed at any of them.
type chapter struct {
	name string
	tell func(*teller)
}

// teller tells one chapter once.
type teller struct {
	testing.TB
	w   *world
	c   *vault.Client
	ctx context.Context // ends when the process was killed
	n   int             // new for each telling
}

// chapters are all of them.
func chapters() []chapter {
	return []chapter{
		{"leases", (*teller).leases},
		{"tokens", (*teller).tokens},
		{"wrapping", (*teller).wrapping},
		{"prefix", (*teller).prefix},
		{"forced", (*teller).forced},
		parked(),
		{"limited token", (*teller).limited},
		{"refused requests", (*teller).refused},
		{"statements", (*teller).statements},
		{"shared grants", (*teller).shared},
		{"recount", (*teller).recount},
		{"given up", (*teller).givenUp},
		{"approle", (*teller).approle},
		{"static roles", (*teller).static},
		{"mounts", (*teller).mounts},
		{"connections", (*teller).connections},
		{"audit devices", (*teller).devices},
		{"quotas", (*teller).quotas},
		{"policies", (*teller).policies},
		{"owned objects", (*teller).owned},
		{"hidden session", (*teller).hidden},
		{"late creation", (*teller).late},
		{"stop in order", (*teller).stopped},
		{"target gone", (*teller).gone},
		{"operator", (*teller).operator},
		{"strays", (*teller).strays},
	}
}

// parked is told before each batch, so that there is always such a lease.
func parked() chapter { return chapter{"parked", (*teller).parkedOne} }

// tell tells a chapter, to the end or until ctx ends.
func (w *world) tell(ctx context.Context, tb testing.TB, ch chapter) {
	tb.Helper()
	w.made++
	ch.tell(&teller{TB: tb, w: w, c: w.client(tb), ctx: ctx, n: w.made})
}

func (s *teller) put(path string, data map[string]any) (*vault.Secret, error) {
	return s.as(s.c, path, data)
}

func (s *teller) as(c *vault.Client, path string, data map[string]any) (*vault.Secret, error) {
	return c.Logical().WriteWithContext(s.ctx, path, data)
}

func (s *teller) read(path string) *vault.Secret {
	a, err := s.c.Logical().ReadWithContext(s.ctx, path)
	if err != nil {
		return nil
	}
	return a
}

func (s *teller) list(path string)   { _, _ = s.c.Logical().ListWithContext(s.ctx, path) }
func (s *teller) remove(path string) { _, _ = s.c.Logical().DeleteWithContext(s.ctx, path) }

// issue is a credential that is held from now on; ok says whether.
func (s *teller) issue(c *vault.Client, path string) (cred credential, ok bool) {
	cred, err := s.w.issue(s.ctx, c, path)
	if err != nil {
		return cred, false
	}
	s.w.book.hold(cred)
	return cred, true
}

// ended notes what became of a request that ends credentials.
func (s *teller) ended(err error, creds ...credential) {
	for _, cred := range creds {
		if err == nil {
			s.w.book.ends(cred)
		}
	}
}

// asks notes that the end of credentials is asked for.
func (s *teller) asks(creds ...credential) {
	for _, cred := range creds {
		s.w.book.asks(cred)
	}
}

func (s *teller) leases() {
	cred, ok := s.issue(s.c, "database/creds/app")
	if !ok {
		return
	}
	other, _ := s.issue(s.c, "database/creds/app")
	_, _ = s.put("sys/leases/renew", map[string]any{"lease_id": cred.lease, "increment": 7200})
	_, _ = s.put("sys/leases/lookup", map[string]any{"lease_id": cred.lease})
	s.list("sys/leases/lookup/database/creds/app")
	s.list("sys/leases/lookup/database")
	s.read("sys/leases/preview/database/creds/app")
	for i, c := range []credential{cred, other} {
		if c.lease != "" {
			s.asks(c)
			s.ended(revoke(s.ctx, s.c, c, i == 0), c)
		}
	}
	if brief, err := s.w.issue(s.ctx, s.c, "database/creds/brief"); err == nil {
		s.w.book.ends(brief)
	}
}

func (s *teller) tokens() {
	_, _ = s.put("sys/policies/acl/app", map[string]any{"policy": `path "*" { capabilities = ["create", "read", "update", "delete", "list", "sudo"] }`})
	child, err := s.put("auth/token/create", map[string]any{"ttl": "1h", "policies": []string{"app"}, "num_uses": 20})
	if err != nil {
		return
	}
	own, err := as(s.c, child.Auth.ClientToken)
	if err != nil {
		return
	}
	grandchild, _ := s.as(own, "auth/token/create", map[string]any{"ttl": "1h", "policies": []string{"app"}})
	// What a token issued ends with it. A credential is not held where the token
	// may be ended by a request that nobody answered: it is asked for at once.
	cred, ok := s.issue(own, "database/creds/app")
	_, _ = s.as(own, "auth/token/renew-self", nil)
	_, _ = own.Logical().ReadWithContext(s.ctx, "auth/token/lookup-self")
	_, _ = s.put("auth/token/lookup-accessor", map[string]any{"accessor": child.Auth.Accessor})
	_, _ = s.put("auth/token/renew-accessor", map[string]any{"accessor": child.Auth.Accessor})
	_, _ = s.put("sys/capabilities-accessor", map[string]any{"accessor": child.Auth.Accessor, "paths": []string{"sys/mounts"}})
	_, _ = s.put("auth/token/tidy", nil)
	s.list("auth/token/accessors")
	_, _ = s.c.Logical().ReadWithDataWithContext(s.ctx, "auth/token/accessors", map[string][]string{"list": {"true"}, "after": {child.Auth.Accessor}})
	if grandchild != nil {
		_, _ = s.put("auth/token/revoke-orphan", map[string]any{"token": grandchild.Auth.ClientToken})
	}
	if ok {
		s.asks(cred)
	}
	_, err = s.put("auth/token/revoke", map[string]any{"token": child.Auth.ClientToken})
	if ok {
		s.ended(err, cred)
	}
	if once, err := s.put("auth/token/create", map[string]any{"ttl": "2s", "policies": []string{"app"}}); err == nil {
		if own, err := as(s.c, once.Auth.ClientToken); err == nil {
			if cred, err := s.w.issue(s.ctx, own, "database/creds/app"); err == nil {
				s.w.book.ends(cred) // with the token
			}
		}
	}
}

// wrapped asks for a credential in a wrapping token; it is nobody's until it is
// opened, and ends with the token.
func (s *teller) wrapped(ttl string) *vault.SecretWrapInfo {
	return s.wrappedAt("database/creds/app", ttl)
}

func (s *teller) wrappedAt(path, ttl string) *vault.SecretWrapInfo {
	c, err := s.c.Clone()
	if err != nil {
		return nil
	}
	c.SetToken(s.w.root)
	c.SetWrappingLookupFunc(func(string, string) string { return ttl })
	a, err := c.Logical().ReadWithContext(s.ctx, path)
	if err != nil || a == nil || a.WrapInfo == nil {
		if err != nil && unclear(err) {
			s.w.book.note(func() { s.w.book.unanswered++ })
		}
		return nil
	}
	return a.WrapInfo
}

func (s *teller) wrapping() {
	s.wrapped("2s") // nobody opens it
	wrap := s.wrapped("2s")
	if wrap == nil {
		return
	}
	token := wrap.Token
	_, _ = s.put("sys/wrapping/lookup", map[string]any{"token": token})
	if again, err := s.put("sys/wrapping/rewrap", map[string]any{"token": token}); err == nil && again.WrapInfo != nil {
		token = again.WrapInfo.Token
	}
	a, err := s.put("sys/wrapping/unwrap", map[string]any{"token": token})
	if err != nil || a == nil {
		s.w.book.note(func() { s.w.book.unanswered++ }) // what was inside may be live, and nobody holds it
		return
	}
	s.w.book.hold(credential{a.LeaseID, fmt.Sprint(a.Data["username"]), fmt.Sprint(a.Data["password"])})
	_, _ = s.put("sys/wrapping/wrap", map[string]any{"a": "b"})
	if wrap := s.wrapped("1m"); wrap != nil {
		_, _ = s.put("auth/token/revoke-accessor", map[string]any{"accessor": wrap.Accessor})
	}
}

func (s *teller) prefix() {
	s.w.book.note(func() {
		for user, cred := range s.w.book.held {
			if strings.HasPrefix(cred.lease, "database/creds/batch/") {
				s.w.book.unclear[user] = cred
				delete(s.w.book.held, user)
			}
		}
	})
	var creds []credential
	for range 3 {
		if cred, ok := s.issue(s.c, "database/creds/batch"); ok {
			creds = append(creds, cred)
		}
	}
	s.asks(creds...)
	_, err := s.put("sys/leases/revoke-prefix/database/creds/batch", map[string]any{"sync": false})
	s.ended(err, creds...)
	for _, id := range s.operations() {
		s.read("sys/leases/operations/" + id)
	}
	if cred, ok := s.issue(s.c, "database/creds/batch"); ok {
		s.asks(cred)
		_, err := s.put("sys/leases/revoke-prefix/database/creds/batch", map[string]any{"sync": true})
		s.ended(err, cred)
	}
}

// operations are the ids of some prefix revocations.
func (s *teller) operations() (ids []string) {
	a, err := s.c.Logical().ListWithContext(s.ctx, "sys/leases/operations")
	if err != nil || a == nil {
		return nil
	}
	keys, _ := a.Data["keys"].([]any)
	for _, k := range keys[max(0, len(keys)-3):] {
		ids = append(ids, fmt.Sprint(k))
	}
	return ids
}

// forced gives up the revocation of an account that the target keeps: a sweep
// goes on looking for it.
func (s *teller) forced() {
	cred, err := s.w.issue(s.ctx, s.c, "database/creds/forced")
	if err != nil {
		return
	}
	s.asks(cred)
	_ = s.w.target.exec(s.TB, "ALTER ROLE %q SUPERUSER", cred.user)
	s.w.book.note(func() { s.w.book.remade[cred.user] = true })
	_, err = s.put("sys/leases/revoke-force/database/creds/forced", map[string]any{"sync": false})
	s.w.quiet(s.ctx, 8*time.Second, func() bool {
		l, err := s.put("sys/leases/lookup", map[string]any{"lease_id": cred.lease})
		return err != nil && !unclear(err) && l == nil
	})
	_ = s.w.target.exec(s.TB, "ALTER ROLE %q NOSUPERUSER", cred.user)
	s.ended(err, cred)
}

// parkedOne is a lease whose revocation the target refuses.
func (s *teller) parkedOne() {
	const enough = 5
	if len(s.w.book.parked) < enough {
		cred, err := s.w.issue(s.ctx, s.c, "database/creds/stuck")
		if err != nil {
			return
		}
		s.w.book.note(func() { s.w.book.parked[cred.user] = cred })
		// The admin may not touch a superuser: its revocation needs a person (C8).
		_ = s.w.target.exec(s.TB, "ALTER ROLE %q SUPERUSER", cred.user)
		_ = revoke(s.ctx, s.c, cred, false)
	}
	_, _ = s.c.Logical().ReadWithDataWithContext(s.ctx, "sys/leases/count", map[string][]string{"type": {"irrevocable"}})
	_, _ = s.c.Logical().ReadWithDataWithContext(s.ctx, "sys/leases", map[string][]string{"type": {"irrevocable"}})
}

// limited is a token that may do little, and looks after its own leases.
func (s *teller) limited() {
	_, _ = s.put("sys/policies/acl/limited", map[string]any{"policy": `
path "database/*" { capabilities = ["read", "delete", "list"] }
path "database/roles/*" { capabilities = ["create", "delete"] }
path "database/config/*" { capabilities = ["create", "delete"] }
path "database/static-roles/*" { capabilities = ["create", "delete"] }
path "sys/leases/revoke-prefix/*" { capabilities = ["update", "sudo"] }`})
	child, err := s.put("auth/token/create", map[string]any{"ttl": "1h", "policies": []string{"limited"}})
	if err != nil {
		return
	}
	own, err := as(s.c, child.Auth.ClientToken)
	if err != nil {
		return
	}
	put := func(path string, data map[string]any) { _, _ = s.as(own, path, data) }
	cred, ok := s.issue(own, "database/creds/app")
	put("sys/leases/lookup", map[string]any{"lease_id": cred.lease})
	_, _ = own.Logical().ListWithContext(s.ctx, "sys/leases/lookup/database/creds/app")
	put("sys/leases/renew", map[string]any{"lease_id": cred.lease, "increment": 3600})
	for range 6 { // of two issuers, too, one has it in its cache by now
		_, _ = own.Logical().ReadWithContext(s.ctx, "auth/token/lookup-self")
	}
	name := fmt.Sprint("limited", s.n)
	put("database/roles/"+name, role(longTTL))
	put("database/config/"+name, s.w.target.connection(s.TB, s.w.target.admin.User, s.w.target.admin.Password))
	put("database/static-roles/"+name, map[string]any{"db_name": "db", "username": "nobody", "rotation_period": "1h"})
	for _, path := range []string{"roles/", "config/"} {
		_, _ = own.Logical().DeleteWithContext(s.ctx, "database/"+path+name)
	}
	put("sys/leases/revoke-prefix/database/creds/nothing", map[string]any{"sync": false})
	for _, id := range s.operations() {
		_, _ = own.Logical().ReadWithContext(s.ctx, "sys/leases/operations/"+id)
	}
	if ok {
		s.asks(cred)
		s.ended(revoke(s.ctx, own, cred, false), cred)
	}
	_, _ = s.as(own, "auth/token/revoke-self", nil)
}

// refused are more requests at once than are put on record one by one: the others
// are counted, and the count is on record ten seconds later.
func (s *teller) refused() {
	stranger, err := as(s.c, "hvs.nobody")
	if err != nil {
		return
	}
	var all sync.WaitGroup
	for range 60 {
		all.Go(func() { _, _ = stranger.Logical().ReadWithContext(s.ctx, "sys/mounts") })
	}
	all.Wait()
	s.rest(12 * time.Second)
}

// shared is a role whose accounts are members of a group role, which changes with
// the role and goes after the last of them.
func (s *teller) shared() {
	name := fmt.Sprint("shared", s.n)
	def := role(longTTL)
	def["shared_grants"], def["creation_statements"] = true, creation+` GRANT SELECT ON items TO "{{name}}";`
	_, _ = s.put("database/roles/"+name, def)
	first, some := s.issue(s.c, "database/creds/"+name)
	def["creation_statements"] = creation + ` GRANT SELECT ON TABLE items TO "{{name}}";`
	_, _ = s.put("database/roles/"+name, def)
	second, more := s.issue(s.c, "database/creds/"+name)
	def["creation_statements"] = creation + ` GRANT SELECT ON nothing TO "{{name}}";`
	_, _ = s.put("database/roles/"+name, def) // its group is on record, and the target does not make it
	s.remove("database/roles/" + name)
	for _, c := range []credential{first, second} {
		if some && c == first || more && c == second {
			s.asks(c)
			s.ended(revoke(s.ctx, s.c, c, true), c)
		}
	}
	s.rest(28 * time.Second) // for the group role to go: no making is awaited for longer than 20 s
}

// recount has the leases that quotas count compared with the count.
func (s *teller) recount() {
	_, _ = s.put("sys/quotas/lease-count/recount", map[string]any{"max_leases": 100_000})
	_, _ = s.put("sys/leases/recount", nil)
	s.read("sys/leases/recount")
	s.rest(12 * time.Second) // for a revoker to look
	s.remove("sys/quotas/lease-count/recount")
}

// givenUp is a revocation that waits for a person: tried again by request, of the
// lease, of its prefix and of its connection, and abandoned in the end.
func (s *teller) givenUp() {
	cred, err := s.w.issue(s.ctx, s.c, "database/creds/forced")
	if err != nil {
		return
	}
	s.asks(cred)
	_ = s.w.target.exec(s.TB, "ALTER ROLE %q SUPERUSER", cred.user)
	s.w.book.note(func() { s.w.book.remade[cred.user] = true })
	_ = revoke(s.ctx, s.c, cred, false)
	s.rest(time.Second)
	for _, path := range []string{"retry-prefix/database/creds/forced", "retry-connection/db", "retry/" + cred.lease} {
		_, _ = s.put("sys/leases/"+path, map[string]any{"reason": "told so"})
	}
	_, err = s.put("sys/leases/abandon/"+cred.lease, map[string]any{"reason": "told so"})
	_ = s.w.target.exec(s.TB, "ALTER ROLE %q NOSUPERUSER", cred.user)
	s.ended(err, cred)
}

// rest waits for what goes on behind the answers.
func (s *teller) rest(d time.Duration) {
	select {
	case <-time.After(d):
	case <-s.ctx.Done():
	}
}

// statements are those of roles that run alone, of a static role that has its
// own, and a trial of a role.
func (s *teller) statements() {
	w := s.w
	if cred, ok := s.issue(s.c, "database/creds/own"); ok {
		_, _ = s.put("sys/leases/renew", map[string]any{"lease_id": cred.lease, "increment": 7200})
		s.asks(cred)
		s.ended(revoke(s.ctx, s.c, cred, true), cred)
	}
	s.read("database/roles/own/check")
	user := fmt.Sprint("stated", s.n)
	_ = w.target.exec(s.TB, "CREATE ROLE %s LOGIN PASSWORD 'x'; GRANT %s TO %s WITH ADMIN OPTION", user, user, w.target.admin.User)
	_, _ = s.put("database/static-roles/"+user, map[string]any{
		"db_name": "db", "username": user, "rotation_period": "1h",
		"rotation_statements": `SELECT 1; ALTER ROLE "{{name}}" PASSWORD '{{password}}';`,
	})
	_, _ = s.put("database/rotate-role/"+user, nil)
	s.remove("database/static-roles/" + user)
}
