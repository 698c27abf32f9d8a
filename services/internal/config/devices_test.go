package config

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Files of audit devices may be below the data directory and /var/log, or where
// the configuration says; never where the programs keep their own.
func TestDevices(t *testing.T) {
	t.Parallel()
	c, err := parse(t, smallest)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Finish(Server); err != nil {
		t.Fatal(err)
	}
	d, err := c.Devices()
	if err != nil || !slices.Equal(d.Below, []string{"/var/lib/curfew", "/var/log"}) {
		t.Errorf("below %q, %v", d.Below, err)
	}
	for _, own := range []string{"store", "nats", "audit", "audit/ledger", "seal.key", "root-token", "nats-subscriber"} {
		if !slices.Contains(d.Except, filepath.Join("/var/lib/curfew", own)) {
			t.Errorf("%s is not among %q", own, d.Except)
		}
	}
	c.DataDir = "data"
	if d, err := c.Devices(); err != nil || !filepath.IsAbs(d.Below[0]) || !filepath.IsAbs(d.Except[0]) {
		t.Errorf("%+v, %v", d, err)
	}
	c, err = parse(t, smallest+`audit { device_dirs = ["/srv/audit"] }`)
	if err != nil {
		t.Fatal(err)
	}
	if d, err := c.Devices(); err != nil || !slices.Equal(d.Below, []string{"/srv/audit"}) {
		t.Errorf("below %q, %v", d.Below, err)
	}
	for _, bad := range []string{"logs", "/", "/srv/.."} {
		c, err := parse(t, smallest+`audit { device_dirs = ["`+bad+`"] }`)
		if err == nil {
			err = c.Finish(Server)
		}
		if err == nil || !strings.Contains(err.Error(), "device_dirs") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
