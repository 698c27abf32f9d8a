package bare

import (
	"regexp"
	"strings"
	"testing"
)

func TestCreate(t *testing.T) {
	t.Parallel()
	sql, err := Create([]string{`CREATE ROLE "{{name}}" PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'`, `GRANT g TO "{{name}}"`}, "v-1", "soon", 1)
	if err != nil {
		t.Fatal(err)
	}
	form := regexp.MustCompile(`^CREATE ROLE "v-1" PASSWORD 'SCRAM-SHA-256\$1:[A-Za-z0-9+/]{22}==\$[A-Za-z0-9+/]{43}=:[A-Za-z0-9+/]{43}=' VALID UNTIL 'soon';GRANT g TO "v-1"$`)
	if !form.MatchString(sql) {
		t.Errorf("unexpected statements: %s", sql)
	}
	other, err := Create([]string{"{{password}}"}, "v-1", "", 4096)
	if err != nil || !strings.HasPrefix(other, "SCRAM-SHA-256$4096:") || strings.Contains(sql, other) {
		t.Errorf("unexpected verifier: %s, %v", other, err)
	}
}
