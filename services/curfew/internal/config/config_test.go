package config

import (
	"strings"
	"testing"
	"time"
)

const smallest = `
data_dir = "/var/lib/curfew"
listener "tcp" { address = "127.0.0.1:8200" tls_disable = true }
`

func parse(t *testing.T, text string) (Config, error) {
	t.Helper()
	c := Default()
	if err := c.Parse(text); err != nil {
		return c, err
	}
	return c, c.Finish()
}

func TestSmallestConfiguration(t *testing.T) {
	t.Parallel()
	c, err := parse(t, smallest)
	if err != nil {
		t.Fatal(err)
	}
	if c.Listener.Address != "127.0.0.1:8200" || !c.Listener.Plain || !c.AutoInit || c.KeyFile != "/var/lib/curfew/seal.key" {
		t.Errorf("unexpected configuration: %+v", c)
	}
	if c.TTL.Max != 768*time.Hour {
		t.Errorf("system maximum is %v", c.TTL.Max)
	}
}

func TestWholeConfiguration(t *testing.T) {
	t.Parallel()
	c, err := parse(t, `
data_dir          = "d"
key_file          = "/k"
auto_init         = false
default_lease_ttl = "1h"
max_lease_ttl     = 86400
log_level         = "debug"
log_format        = "text"
listener "tcp" {
  address       = "0.0.0.0:8200"
  tls_cert_file = "c.pem"
  tls_key_file  = "k.pem"
}
nats   { listen = "127.0.0.1:4222" }
limits { max_backlog = 10 max_in_flight = 20 }
expiry { stray_sweep = "5s" paused = true }
`)
	if err != nil {
		t.Fatal(err)
	}
	want := Config{
		DataDir: "d", KeyFile: "/k", TTL: TTL{time.Hour, 24 * time.Hour}, Log: Log{"debug", "text"},
		Listener: Listener{Address: "0.0.0.0:8200", CertFile: "c.pem", KeyFile: "k.pem"},
		NATS:     NATS{"127.0.0.1:4222"}, Limits: Limits{10, 20}, Expiry: Expiry{5 * time.Second, true},
	}
	if c != want {
		t.Errorf("got  %+v\nwant %+v", c, want)
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ text, says string }{
		"unknown key":          {smallest + "storage_dir = \"x\"", `line 4: unknown key "storage_dir"`},
		"unknown key inside":   {`listener "tcp" { addrezz = "x" }`, `unknown key "addrezz"`},
		"unknown listener":     {`listener "unix" { address = "x" }`, `takes the label "tcp"`},
		"key twice":            {`data_dir = "x"` + "\n" + smallest, "already set"},
		"block twice":          {`nats { listen = "a:1" }` + "\n" + `nats { listen = "a:1" }`, "is there twice"},
		"no data dir":          {`listener "tcp" { address = "127.0.0.1:8200" tls_disable = true }`, "data_dir is needed"},
		"no listener":          {`data_dir = "x"`, "needs an address"},
		"no tls":               {`data_dir = "x" listener "tcp" { address = "127.0.0.1:1" }`, "tls_cert_file"},
		"default above max":    {smallest + "default_lease_ttl = \"2h\"\nmax_lease_ttl = \"1h\"", "lease TTL too large"},
		"bad duration":         {smallest + `max_lease_ttl = "banana"`, "invalid duration"},
		"bad level":            {smallest + `log_level = "loud"`, "log_level"},
		"block for a value":    {`data_dir { x = 1 }`, "data_dir"},
		"value for a block":    {`nats = "x"`, "block"},
		"not hcl":              {`data_dir = = "x"`, "parse"},
		"number for a boolean": {smallest + `auto_init = "perhaps"`, "auto_init"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := parse(t, tc.text)
			if err == nil || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("error is %v, want one that says %q", err, tc.says)
			}
		})
	}
}

func TestEnvironment(t *testing.T) {
	t.Parallel()
	c, err := parse(t, smallest)
	if err != nil {
		t.Fatal(err)
	}
	env := map[string]string{"CURFEW_DATA_DIR": "/other", "CURFEW_AUTO_INIT": "false"}
	lookup := func(k string) (string, bool) { v, ok := env[k]; return v, ok }
	if err := c.Environ(lookup); err != nil {
		t.Fatal(err)
	}
	if c.DataDir != "/other" || c.AutoInit {
		t.Errorf("the environment was not applied: %+v", c)
	}
	env["CURFEW_AUTO_INIT"] = "perhaps"
	if err := c.Environ(lookup); err == nil {
		t.Error("a bad CURFEW_AUTO_INIT was taken")
	}
}

func FuzzParse(f *testing.F) {
	f.Add(smallest)
	f.Add(`listener "tcp" {`)
	f.Fuzz(func(_ *testing.T, text string) {
		c := Default()
		if c.Parse(text) == nil {
			_ = c.Finish()
		}
	})
}
