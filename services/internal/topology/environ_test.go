package topology

import "testing"

func TestEnvironKeepsTheCallersSettingsOut(t *testing.T) {
	t.Parallel()
	got := Environ([]string{"PATH=/bin", "VAULT_ADDR=x", "BAO_TOKEN=x", "PGHOST=x", "CURFEW_TOKEN=x", "XDG_CONFIG_HOME=x", "HOME=/x"}, "/home")
	if want := []string{"PATH=/bin", "HOME=/home"}; len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("got %q, want %q", got, want)
	}
}
