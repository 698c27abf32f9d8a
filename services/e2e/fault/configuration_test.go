//go:build e2e

package fault

import (
	"fmt"
	"path/filepath"
	"time"
)

// The chapters about configuration.

func (s *teller) approle() {
	mount := fmt.Sprintf("approle%d", s.n)
	_, _ = s.put("sys/auth/"+mount, map[string]any{"type": "approle"})
	_, _ = s.put("sys/auth/"+mount+"/tune", map[string]any{"default_lease_ttl": "1h"})
	at := "auth/" + mount + "/role/app"
	_, _ = s.put(at, map[string]any{"token_policies": "app", "token_ttl": "20m", "secret_id_num_uses": 3})
	role := s.read(at + "/role-id")
	secret, err := s.put(at+"/secret-id", nil)
	if err != nil || role == nil {
		return
	}
	id, accessor := fmt.Sprint(secret.Data["secret_id"]), fmt.Sprint(secret.Data["secret_id_accessor"])
	for _, text := range []string{id, "wrong", id} {
		in, err := s.put("auth/"+mount+"/login", map[string]any{"role_id": role.Data["role_id"], "secret_id": text})
		if err != nil || in == nil || in.Auth == nil {
			continue
		}
		if own, err := as(s.c, in.Auth.ClientToken); err == nil {
			if cred, ok := s.issue(own, "database/creds/app"); ok {
				s.asks(cred) // it ends with the method
			}
		}
	}
	_, _ = s.put(at+"/secret-id/lookup", map[string]any{"secret_id": id})
	_, _ = s.put(at+"/secret-id-accessor/lookup", map[string]any{"secret_id_accessor": accessor})
	s.list(at + "/secret-id")
	s.list("auth/" + mount + "/role")
	brief, err := s.put(at+"/secret-id", map[string]any{"ttl": "1s"})
	if err == nil {
		s.w.quiet(s.ctx, 2*time.Second, func() bool { return false })
		_, _ = s.put("auth/"+mount+"/login", map[string]any{"role_id": role.Data["role_id"], "secret_id": brief.Data["secret_id"]})
	}
	_, _ = s.put(at+"/secret-id-accessor/destroy", map[string]any{"secret_id_accessor": accessor})
	_, _ = s.put(at+"/custom-secret-id", map[string]any{"secret_id": "chosen-by-people"})
	_, _ = s.put("auth/"+mount+"/tidy/secret-id", nil)
	_, _ = s.put(at+"/role-id", map[string]any{"role_id": fmt.Sprint("id-", s.n)})
	_, _ = s.put("auth/"+mount+"/role/other", map[string]any{"token_policies": "app"})
	_, _ = s.put("auth/"+mount+"/role/other/secret-id", nil)
	s.remove("auth/" + mount + "/role/other")
	s.remove("sys/auth/" + mount)
}

func (s *teller) static() {
	w := s.w
	user := fmt.Sprint("people", s.n)
	_ = w.target.exec(s.TB, "CREATE ROLE %s LOGIN PASSWORD 'x'; GRANT %s TO %s WITH ADMIN OPTION", user, user, w.target.admin.User)
	_, _ = s.put("database/static-roles/"+user, map[string]any{"db_name": "db", "username": user, "rotation_period": "1h"})
	_, _ = s.put("database/static-roles/"+user, map[string]any{"db_name": "db", "username": user, "rotation_period": "2h"})
	_, _ = s.put("database/static-roles/"+user+"-too", map[string]any{"db_name": "db", "username": user, "rotation_period": "1h"})
	s.read("database/static-roles/" + user)
	s.list("database/static-roles")
	s.read("database/static-creds/" + user)
	_, _ = s.put("database/rotate-role/"+user, nil)
	_, _ = s.put("database/rotate-role/"+billing, nil)
	s.remove("database/static-roles/" + user)
}

func (s *teller) mounts() {
	mount := fmt.Sprint("db", s.n)
	_, _ = s.put("sys/mounts/"+mount, map[string]any{"type": "database"})
	_, _ = s.put("sys/mounts/"+mount+"/tune", map[string]any{"default_lease_ttl": "1h"})
	_, _ = s.put(mount+"/config/db", s.w.target.connection(s.TB, s.w.target.admin.User, s.w.target.admin.Password))
	_, _ = s.put(mount+"/roles/app", role(longTTL))
	s.read("sys/mounts")
	s.read("sys/internal/ui/mounts")
	s.list(mount + "/roles")
	s.list(mount + "/config")
	var creds []credential
	for range 2 {
		if cred, ok := s.issue(s.c, mount+"/creds/app"); ok {
			creds = append(creds, cred)
		}
	}
	s.asks(creds...)
	_, err := s.c.Logical().DeleteWithContext(s.ctx, "sys/mounts/"+mount)
	s.ended(err, creds...)
}

func (s *teller) connections() {
	w := s.w
	admin := fmt.Sprint("admin", s.n)
	_ = w.target.exec(s.TB, "CREATE ROLE %s LOGIN CREATEROLE PASSWORD 'first'; GRANT pg_signal_backend TO %s; GRANT readers TO %s WITH ADMIN OPTION", admin, admin, admin)
	name := fmt.Sprint("spare", s.n)
	_, _ = s.put("sys/policies/password/digits", map[string]any{"policy": "length = 24\nrule \"charset\" {\n  charset = \"0123456789\"\n}\n"})
	data := w.target.connection(s.TB, admin, "first")
	_, _ = s.put("database/config/"+name, data)
	data["password_policy"], data["username_template"] = "digits", "app_{{.Mark}}"
	_, _ = s.put("database/config/"+name, data)
	s.read("database/config/" + name)
	r := role(longTTL)
	r["db_name"] = name
	_, _ = s.put("database/roles/"+name, r)
	_, _ = s.put("database/roles/"+name, r)
	s.read("database/roles/" + name)
	_, _ = s.put("database/reset/"+name, nil)
	_, _ = s.put("database/rotate-root/"+name, nil)
	_, _ = s.put("database/roles/"+name, map[string]any{
		"db_name": name, "creation_statements": creation + ` GRANT nobody_of_that_name TO "{{name}}";`, "validate": true,
	})
	s.remove("database/roles/" + name)
	s.remove("database/config/" + name)
}

func (s *teller) devices() {
	if all := s.read("sys/audit"); all != nil { // of tellings that were cut off
		for name := range all.Data {
			s.remove("sys/audit/" + name)
		}
	}
	name := fmt.Sprint("file", s.n)
	_, _ = s.put("sys/audit/"+name, map[string]any{
		"type": "file", "options": map[string]string{"file_path": filepath.Join(s.w.form.devices(s.TB), name+".log")},
	})
	s.read("sys/audit")
	_, _ = s.put("sys/audit-hash/"+name, map[string]any{"input": "x"})
	_, _ = s.put("sys/audit/"+name+"x", map[string]any{"type": "file", "options": map[string]string{"file_path": "/proc/nowhere/x.log"}})
	s.remove("sys/audit/" + name)
	s.remove("sys/audit/" + name + "x")
}

func (s *teller) quotas() {
	_, _ = s.put("sys/quotas/lease-count/batch", map[string]any{"path": "database/creds/batch", "max_leases": 100})
	_, _ = s.put("sys/quotas/lease-count/batch", map[string]any{"path": "database/creds/batch", "max_leases": 200})
	s.read("sys/quotas/lease-count/batch")
	s.list("sys/quotas/lease-count")
	_, _ = s.put("sys/quotas/rate-limit/slow", map[string]any{"path": "sys/nowhere", "rate": 100})
	s.read("sys/quotas/rate-limit/slow")
	s.list("sys/quotas/rate-limit")
	_, _ = s.put("sys/quotas/config", map[string]any{"rate_limit_exempt_paths": []string{fmt.Sprint("sys/exempt", s.n)}})
	s.read("sys/quotas/config")
	s.remove("sys/quotas/lease-count/batch")
	s.remove("sys/quotas/rate-limit/slow")
}

func (s *teller) policies() {
	name := fmt.Sprint("policy", s.n)
	_, _ = s.put("sys/policies/acl/"+name, map[string]any{"policy": `path "a" { capabilities = ["read"] }`})
	_, _ = s.put("sys/policies/acl/"+name, map[string]any{"policy": `path "b" { capabilities = ["read"] }`})
	s.read("sys/policies/acl/" + name)
	s.list("sys/policies/acl")
	_, _ = s.put("auth/token/create", map[string]any{"ttl": "10s", "policies": []string{name, "not-there"}})
	s.remove("sys/policies/acl/" + name)
	_, _ = s.put("sys/policies/password/"+name, map[string]any{"policy": "length = 20\nrule \"charset\" {\n  charset = \"abcdefghij\"\n}\n"})
	s.read("sys/policies/password/" + name)
	s.read("sys/policies/password/" + name + "/generate")
	s.list("sys/policies/password")
	s.remove("sys/policies/password/" + name)
	_, _ = s.put("sys/explain", map[string]any{"path": "sys/mounts", "operation": "read"})
	_, _ = s.put("sys/leases/tidy", nil)
}

func (s *teller) operator() {
	s.read("sys/installation")
	_, _ = s.put("sys/installation/confirm", nil)
	s.read("sys/seal-status")
	s.read("sys/health")
	s.read("sys/auth")
	_, _ = s.put("sys/remount", map[string]any{"from": "nowhere", "to": "else"})
}
