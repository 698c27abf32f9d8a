//go:build integration

package database

import (
	"strings"
	"testing"

	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/testkit"
)

// B10, on the server: what is issued obeys the role's policy, else that of the
// connection, logs in, and was hashed as often as it needs.
func TestPoliciesOfCredentials(t *testing.T) {
	t.Parallel()
	for _, kind := range testkit.AdminKinds() { // (C4)
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			s := newSite(t, testkit.SharedPostgres(t).CreateAdmin(t, kind))
			ctx := t.Context()
			s.policyOf("digits", 12, "0123456789")
			s.policyOf("odd", 40, letters+` !"#$%&'()*+,-./:;<=>?@[\]^_{|}~`)
			s.must(engine.Write, "config/db", map[string]any{"password_policy": "digits", "scram_iterations": 1})
			odd := roleOf("db")
			odd["credential_config"] = map[string]any{"password_policy": "odd"}
			s.must(engine.Write, "roles/odd", odd)
			s.must(engine.Write, "roles/plain", roleOf("db"))
			for role, want := range map[string]struct{ charset, iterations string }{
				"plain": {"0123456789", "SCRAM-SHA-256$4096:"}, "odd": {letters + ` !"#$%&'()*+,-./:;<=>?@[\]^_{|}~`, "SCRAM-SHA-256$1:"},
			} {
				i := s.issue(role)
				text := i.password.Reveal()
				if strings.Trim(text, want.charset) != "" {
					t.Errorf("%s: a password that its policy does not allow", role)
				}
				conn, err := s.connect(ctx, i.Account, text)
				if err != nil {
					t.Errorf("%s: %v", role, err)
				} else {
					_ = conn.Close(ctx) // it was opened, which is all
				}
				var verifier string
				if err := s.super(ctx, `SELECT rolpassword FROM pg_authid WHERE rolname = $1`, []any{i.Account}, &verifier); err != nil {
					t.Fatal(err)
				}
				if !strings.HasPrefix(verifier, want.iterations) {
					t.Errorf("%s: %.20s…, want %s…", role, verifier, want.iterations)
				}
				s.remove(i.Lease)
			}
			// The admin's own password is drawn by it, too.
			s.must(engine.Write, "rotate-root/db", nil)
			if got := s.wantCurrent(); len(got) != 12 || strings.Trim(got, "0123456789") != "" {
				t.Errorf("the rotated password has %d characters, or others than its policy allows", len(got))
			}
			// A policy that is gone makes nothing.
			s.must(engine.Write, "config/db", map[string]any{"password_policy": "gone"})
			_, err := s.tryIssue("plain")
			wantError(t, "issue", "plain", err, engine.Invalid, "no password policy found")
			s.refused(engine.Invalid, engine.Write, "rotate-root/db", nil, "no password policy found")
			s.must(engine.Write, "config/db", map[string]any{"password_policy": ""})
			i := s.issue("plain")
			s.remove(i.Lease)
		})
	}
}
