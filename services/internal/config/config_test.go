package config

import (
	"reflect"
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
	return c, c.Finish(Server)
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
  tls_client_ca_file = "ca.pem"
  tls_require_and_verify_client_cert = true
  tls_min_version    = "tls13"
  max_request_size     = 4096
  max_request_duration = "10s"
}
nats   { listen = "127.0.0.1:4222" }
limits { max_backlog = 10 max_in_flight = 20 max_revocation_lag = "30s" cached_tokens = 40 }
expiry { stray_sweep = "5s" lanes = 8 paused = true }
`)
	if err != nil {
		t.Fatal(err)
	}
	want := Config{
		DataDir: "d", KeyFile: "/k", AutoUnseal: true, TTL: TTL{time.Hour, 24 * time.Hour}, Log: Log{"debug", "text"},
		Listener: Listener{Address: "0.0.0.0:8200", CertFile: "c.pem", KeyFile: "k.pem", ClientCAFile: "ca.pem", RequireClientCert: true, MinVersion: "tls13", MaxRequestSize: 4096, MaxRequestDuration: 10 * time.Second},
		NATS:     NATS{Listen: "127.0.0.1:4222", Replicas: 1}, Limits: Limits{10, 20, 30 * time.Second, 40}, Expiry: Expiry{5 * time.Second, 8, true},
		Store: Store{MaxConns: 16}, Audit: Audit{LedgerDir: "d/audit/ledger"},
	}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got  %+v\nwant %+v", c, want)
	}
}

// No token is cached where the configuration says 0.
func TestCachedTokens(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int{"": defaultTokens, "limits { cached_tokens = 0 }": -1, "limits { cached_tokens = 7 }": 7} {
		c, err := parse(t, smallest+text)
		if err != nil || c.Limits.CachedTokens() != want {
			t.Errorf("%q: %d, %v; want %d", text, c.Limits.CachedTokens(), err, want)
		}
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ text, says string }{
		"unknown key": {smallest + "storage_dir = \"x\"", `line 4: unknown key "storage_dir"`},
		"client cert, no CA": {
			`data_dir = "d"
listener "tcp" { address = ":1" tls_cert_file = "c" tls_key_file = "k" tls_require_and_verify_client_cert = true }`, "needs tls_client_ca_file",
		},
		"plain and client CA": {`data_dir = "d"
listener "tcp" { address = ":1" tls_disable = true tls_client_ca_file = "c" }`, "has both tls_disable and a certificate"},
		"old TLS": {`data_dir = "d"
listener "tcp" { address = ":1" tls_cert_file = "c" tls_key_file = "k" tls_min_version = "tls10" }`, `tls_min_version "tls10" is not tls12 or tls13`},
		"unknown key inside":   {`listener "tcp" { addrezz = "x" }`, `unknown key "addrezz"`},
		"unknown listener":     {`listener "unix" { address = "x" }`, `takes the label "tcp"`},
		"key twice":            {`data_dir = "x"` + "\n" + smallest, "already set"},
		"block twice":          {`nats { listen = "a:1" }` + "\n" + `nats { listen = "a:1" }`, "is there twice"},
		"no data dir":          {`listener "tcp" { address = "127.0.0.1:8200" tls_disable = true }`, "data_dir is needed"},
		"cached tokens":        {smallest + `limits { cached_tokens = -1 }`, "cached_tokens must be 0, for none, or more"},
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
			_ = c.Finish(Revoker)
		}
	})
}

const distributed = `
name     = "one"
data_dir = "/var/lib/curfew"
key_file = "/k"
listener "tcp" { address = "127.0.0.1:8200" tls_disable = true }
store "postgres" { url = "postgres://curfew@db/curfew" password_file = "/p" max_connections = 8 }
nats  { servers = ["nats://a:4222", "nats://b:4222"] user = "curfew" password_file = "/n" replicas = 3 }
redis { addresses = ["a:6379", "b:6379"] cluster = true window = "24h" }
monitor { address = "127.0.0.1:9200" profiles = true }
audit { ledger_dir = "/ledger" urls = ["http://a:8202", "https://b:8202"] }
`

func TestDistributedConfiguration(t *testing.T) {
	t.Parallel()
	for _, p := range []Program{Issuer, Revoker, Auditor} {
		c := Default()
		if err := c.Parse(distributed); err != nil {
			t.Fatal(err)
		}
		if err := c.Finish(p); err != nil {
			t.Fatalf("%s: %v", p, err)
		}
		if c.Name != "one" || c.Store.PasswordFile != "/p" || c.Store.MaxConns != 8 || len(c.NATS.Servers) != 2 || c.NATS.Replicas != 3 ||
			!c.Redis.Cluster || c.Redis.Addresses[1] != "b:6379" || c.Redis.Window != 24*time.Hour || !c.Monitor.Profiles || c.Audit.LedgerDir != "/ledger" || c.Audit.URLs[1] != "https://b:8202" {
			t.Errorf("%s: unexpected configuration: %+v", p, c)
		}
	}
}

// Each program refuses what it lacks, and a secret that has no place here.
func TestDistributedRefused(t *testing.T) {
	t.Parallel()
	const base = `key_file = "/k"
listener "tcp" { address = "127.0.0.1:8200" tls_disable = true }
`
	const store, nats = `store "postgres" { url = "postgres://curfew@db/curfew" }` + "\n", `nats { servers = ["nats://a:4222"] }` + "\n"
	for name, tc := range map[string]struct {
		program    Program
		text, says string
	}{
		"no store":            {Issuer, base + nats, `store "postgres" needs a url`},
		"no stream":           {Issuer, base + store, "nats needs servers"},
		"no index":            {Revoker, base + store + nats, "redis needs addresses"},
		"no directory":        {Auditor, base + store + nats, "data_dir is needed"},
		"no key":              {Issuer, `listener "tcp" { address = "127.0.0.1:8200" tls_disable = true }` + "\n" + store + nats, "key_file is needed"},
		"store of another":    {Issuer, base + nats + `store "postgres" { url = "mysql://db/x" }`, "postgres://"},
		"store for one":       {Server, `data_dir = "/d"` + "\n" + base + store, "keeps its own"},
		"password in a URL":   {Issuer, base + nats + `store "postgres" { url = "postgres://u:hidden@db/x" }`, "password_file"},
		"user in a URL":       {Issuer, base + store + `nats { servers = ["nats://u:hidden@a:4222"] }`, "user and password_file"},
		"server is no URL":    {Issuer, base + store + `nats { servers = ["u:hidden@a"] }`, "no URL"},
		"address is none":     {Revoker, base + store + nats + `redis { addresses = ["a"] }`, "host:port"},
		"window too small":    {Revoker, base + store + nats + `redis { addresses = ["a:1"] window = "59s" }`, "at least 1m"},
		"window below zero":   {Revoker, base + store + nats + `redis { addresses = ["a:1"] window = "-1h" }`, "at least 1m"},
		"cluster and master":  {Revoker, base + store + nats + `redis { addresses = ["a:1"] cluster = true master = "m" }`, "either"},
		"auditor is no URL":   {Issuer, base + store + nats + `audit { urls = ["a:8202"] }`, "http://"},
		"monitor is none":     {Revoker, base + store + nats + `monitor { address = "x" }`, "monitor address"},
		"profiles nowhere":    {Revoker, base + store + nats + `monitor { profiles = true }`, "need its address"},
		"embedded listening":  {Issuer, base + store + `nats { servers = ["nats://a:1"] listen = "a:2" }`, "listen is for curfew server"},
		"too few connections": {Issuer, base + nats + `store "postgres" { url = "postgres://db/x" max_connections = 1 }`, "at least 4"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := Default()
			if err := c.Parse(tc.text); err != nil {
				t.Fatal(err)
			}
			err := c.Finish(tc.program)
			if err == nil || !strings.Contains(err.Error(), tc.says) || strings.Contains(err.Error(), "hidden") {
				t.Errorf("error is %v, want one that says %q", err, tc.says)
			}
		})
	}
}
