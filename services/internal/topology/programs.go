package topology

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// program adds a part that is a program of ours.
func (t *Topology) program(name, file string, args ...string) *Program {
	p := &Program{
		name: name, path: filepath.Join(t.cfg.Programs, file), args: args,
		environ: t.environ, dir: t.Dir, log: filepath.Join(t.Dir, name+".log"),
	}
	t.parts = append(t.parts, p)
	return p
}

// addPrograms starts all of them at once: each waits for what it needs.
func (t *Topology) addPrograms(ctx context.Context) error {
	if err := os.MkdirAll(t.LogDir(), 0o700); err != nil {
		return fmt.Errorf("make the folder of audit devices: %w", err)
	}
	listeners := make([]string, t.cfg.Auditors)
	for i := range listeners {
		p, err := t.port()
		if err != nil {
			return err
		}
		listeners[i] = p.Address()
		t.auditors = append(t.auditors, p.Address())
	}
	for i, address := range listeners {
		if err := t.addCurfew(ctx, "auditor", i, listener(address)); err != nil {
			return err
		}
	}
	for i := range t.cfg.Revokers {
		if err := t.addCurfew(ctx, "revoker", i, ""); err != nil {
			return err
		}
	}
	for i := range t.cfg.Issuers {
		p, err := t.port()
		if err != nil {
			return err
		}
		t.issuers = append(t.issuers, "http://"+t.via(Proxy, fmt.Sprintf("issuer-%d", i+1), p.Address()))
		more := listener(p.Address())
		if i > 0 || t.cfg.Uninitialised {
			more += "auto_init = false\n" // one makes the installation, the others wait for it
		}
		if err := t.addCurfew(ctx, "issuer", i, more); err != nil {
			return err
		}
	}
	return nil
}

// addCurfew writes the configuration of one program and starts it.
func (t *Topology) addCurfew(ctx context.Context, kind string, i int, more string) error {
	name := fmt.Sprintf("%s-%d", kind, i+1)
	monitor, err := t.port()
	if err != nil {
		return err
	}
	redis, err := t.indexAddress()
	if err != nil {
		return err
	}
	dataDir := filepath.Join(t.Dir, name)
	if name == "issuer-1" {
		dataDir = t.Dir // for the root token
	}
	text := fmt.Sprintf(`name     = %q
data_dir = %q
key_file = %q
monitor { address = %q profiles = %t }
store "postgres" {
  url           = "postgres://%s@%s/%s?sslmode=disable"
  password_file = %q
}
nats {
  servers  = [%s]
  replicas = %d
}
redis { addresses = [%q] }
audit {
  ledger_dir  = %q
  device_dirs = [%q]
  urls        = [%s]
}
`, name, dataDir, t.KeyFile(), monitor.Address(), t.cfg.Profiles,
		login, t.storeAddresses(name), login, filepath.Join(t.Dir, passwordFile),
		t.urls(name, "nats://", "nats", t.streams), t.cfg.Streams, t.via(name, Index, redis),
		t.LedgerDir(), t.LogDir(), t.urls(name, "http://", "auditor", t.auditors))
	file := filepath.Join(t.Dir, name+".hcl")
	if err := os.WriteFile(file, []byte(text+more+t.cfg.Settings+"\n"), 0o600); err != nil {
		return fmt.Errorf("write the configuration of %s: %w", name, err)
	}
	p := t.program(name, "curfew-"+kind, "-config="+file)
	t.monitors = append(t.monitors, "http://"+monitor.Address())
	p.probe = "http://" + monitor.Address() + "/readyz"
	return p.Start(ctx)
}

func (t *Topology) addProxy(ctx context.Context) error {
	address := t.cfg.Address
	if address == "" {
		p, err := t.port()
		if err != nil {
			return err
		}
		address = p.Address()
	}
	t.URL = "http://" + address
	p := t.program(Proxy, "local", "proxy", "-listen="+address, "-to="+strings.Join(t.issuers, ","))
	p.probe = t.URL + "/v1/sys/health"
	if t.cfg.Uninitialised {
		p.probe += "?uninitcode=200"
	}
	return p.Start(ctx)
}

func listener(address string) string {
	return fmt.Sprintf("listener \"tcp\" { address = %q tls_disable = true }\n", address)
}

// urls are those at which a program reaches servers of a kind: the inside of a
// list in HCL.
func (t *Topology) urls(program, scheme, kind string, addresses []string) string {
	quoted := make([]string, len(addresses))
	for i, a := range addresses {
		quoted[i] = strconv.Quote(scheme + t.via(program, fmt.Sprintf("%s-%d", kind, i+1), a))
	}
	return strings.Join(quoted, ", ")
}
