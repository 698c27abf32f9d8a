package database

import (
	"reflect"
	"strings"
	"testing"

	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/engine/database/internal/postgres"
	"github.com/curfew-project/curfew/shared/engine/database/internal/scram"
	"github.com/curfew-project/curfew/shared/password"
	"github.com/curfew-project/curfew/shared/store"
)

const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

// policyOf keeps a password policy as the issuer does.
func (b *bench) policyOf(name string, length int, charset string) {
	b.tb.Helper()
	value, err := password.Policy{Length: length, Rules: []password.Rule{{Charset: charset}}}.Encode()
	if err != nil {
		b.tb.Fatal(err)
	}
	_, err = b.fake.Write(b.tb.Context(), store.Write{Puts: []store.Entry{{Kind: store.KindPassword, Key: name, Value: value}}})
	if err != nil {
		b.tb.Fatal(err)
	}
}

// B10: a policy of fewer than 128 bits forces 4,096 iterations at least, any
// other leaves them as they are set.
func TestWeakPolicyForcesIterations(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.policyOf("weak", 22, letters)   // 125.4 bits
	b.policyOf("strong", 23, letters) // 131.1 bits
	for _, c := range []struct {
		policy    string
		set, want int
	}{
		{"weak", 1, scram.DefaultIterations},
		{"weak", 0, scram.DefaultIterations},
		{"weak", 10000, 10000},
		{"strong", 1, 1},
		{"strong", 0, 0},
		{"", 1, 1},
	} {
		p := postgres.Plan{Iterations: c.set}
		got, err := b.password(t.Context(), c.policy, &p)
		if err != nil {
			t.Fatal(err)
		}
		if p.Iterations != c.want {
			t.Errorf("policy %q, set to %d: %d iterations, want %d", c.policy, c.set, p.Iterations, c.want)
		}
		if text := got.Reveal(); c.policy != "" && (strings.Trim(text, letters) != "" || len(text) < 22 || len(text) > 23) {
			t.Errorf("policy %q gave %q", c.policy, text)
		}
	}
}

func TestPolicyThatCannotBeUsed(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.policyOf("foreign", 30, "äöü"+letters)
	_, err := b.password(t.Context(), "gone", &postgres.Plan{})
	wantError(t, "password", "gone", err, engine.Invalid, "1 error occurred:\n\t* ", "no password policy found", "sys/policies/password/gone")
	_, err = b.password(t.Context(), "foreign", &postgres.Plan{})
	wantError(t, "password", "foreign", err, engine.Invalid, `"foreign" has characters outside of ASCII`)
	// Who sends the password itself may have them.
	if _, err := b.password(t.Context(), "foreign", &postgres.Plan{Authentication: postgres.Password}); err != nil {
		t.Error(err)
	}
}

// The fields are those of stock servers, and are read back as there.
func TestPolicyFields(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.must(engine.Write, "config/a", unverified("password_policy", "p"))
	b.must(engine.Write, "config/a", map[string]any{"allowed_roles": "*"})
	if got := b.must(engine.Read, "config/a", nil).Data["password_policy"]; got != "p" {
		t.Errorf("password_policy of the connection is %v", got)
	}
	role := roleOf("a")
	role["credential_config"] = map[string]any{"password_policy": "q"}
	b.must(engine.Write, "roles/r", role)
	b.must(engine.Write, "roles/r", map[string]any{"max_ttl": "30h"})
	if got := b.must(engine.Read, "roles/r", nil).Data["credential_config"]; !reflect.DeepEqual(got, map[string]any{"password_policy": "q"}) {
		t.Errorf("credential_config is %v", got)
	}
	b.refused(engine.Invalid, engine.Write, "roles/r", map[string]any{"credential_config": map[string]any{"password_policy": 5.5}},
		"credential_config validation failed: ")
	if r := b.must(engine.Write, "roles/r", map[string]any{"credential_config": `{"password_policy":"","other":1}`}); r == nil || !strings.Contains(r.Warnings[0], "other") {
		t.Errorf("an unknown setting is taken without a word: %+v", r)
	}
	if got, there := b.must(engine.Read, "roles/r", nil).Data["credential_config"]; there {
		t.Errorf("an empty one leaves %v", got)
	}
}
