package postgres

import (
	"testing"

	"pgregory.net/rapid"
)

func TestPlanAndHandleSurviveTheStore(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		h := Handle{RoleOID: rapid.Uint32().Draw(t, "oid"), Identity: Identity{rapid.String().Draw(t, "id"), rapid.Int64().Draw(t, "timeline")}}
		b, err := h.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := DecodeHandle(b); err != nil || got != h {
			t.Fatalf("%+v: %v", got, err)
		}
	})
	if h, err := DecodeHandle(nil); err != nil || h != (Handle{}) {
		t.Fatalf("%+v: %v", h, err)
	}
	if _, err := DecodePlan(nil); err == nil {
		t.Fatal("a lease without a plan")
	}
}

func TestPlanIsChecked(t *testing.T) {
	t.Parallel()
	login := `CREATE ROLE "{{name}}" LOGIN PASSWORD '{{password}}'`
	for name, tt := range map[string]struct {
		plan Plan
		ok   bool
	}{
		"plain":                   {Plan{Creation: []string{login}}, true},
		"password elsewhere":      {Plan{Creation: []string{login, `COMMENT ON ROLE "{{name}}" IS '{{password}}'`}}, false},
		"password, but in clear":  {Plan{Creation: []string{login, `COMMENT ON ROLE "{{name}}" IS '{{password}}'`}, Authentication: Password}, true},
		"transaction control":     {Plan{Creation: []string{login, `COMMIT`}}, false},
		"authentication":          {Plan{Creation: []string{login}, Authentication: "md5"}, false},
		"owned objects":           {Plan{Creation: []string{login}, OwnedObjects: "keep"}, false},
		"iterations":              {Plan{Creation: []string{login}, Iterations: -1}, false},
		"login while renewing":    {Plan{Creation: []string{login}, Renewal: []string{`ALTER ROLE "{{name}}" LOGIN`}}, false},
		"password while revoking": {Plan{Creation: []string{login}, Revocation: []string{`ALTER ROLE "{{name}}" PASSWORD '{{password}}'`}}, false},
	} {
		if err := tt.plan.Check(); (err == nil) != tt.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLint(t *testing.T) {
	t.Parallel()
	login := `CREATE ROLE "{{name}}" LOGIN PASSWORD '{{password}}'`
	codes := func(p Plan) string {
		out := ""
		for _, f := range Lint(p) {
			out += f.Code + " "
		}
		return out
	}
	for want, p := range map[string]Plan{
		"":                       {Creation: []string{login, `GRANT readers TO "{{name}}"`}},
		"per-user-grants ":       {Creation: []string{login, `GRANT SELECT ON items TO "{{name}}"`}},
		"alone ":                 {Creation: []string{login}, Revocation: []string{`DO $$ BEGIN NULL; END $$`}},
		"per-user-grants alone ": {Creation: []string{login, `GRANT SELECT ON items TO "{{name}}"`, `SELECT 1`}},
		"statements ":            {Creation: []string{`COMMIT`}},
	} {
		if got := codes(p); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
