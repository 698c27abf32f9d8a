package command

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/curfew-project/curfew/services/curfew/internal/cli"
	"github.com/curfew-project/curfew/shared/step"
)

const token = "hvs.verysecretroottoken"

// run runs a command line with an environment.
func run(t *testing.T, env map[string]string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	lookup := func(name string) (string, bool) { v, ok := env[name]; return v, ok }
	code = cli.Run(t.Context(), args, cli.IO{
		Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs, Now: time.Now,
		Getenv: func(name string) string { return env[name] },
	}, Server(lookup, &step.Watchers{}), Verify())
	return code, out.String(), errs.String()
}

func file(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "curfew.hcl")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const sound = `
data_dir = "/var/lib/curfew"
listener "tcp" {
  address     = "127.0.0.1:8200"
  tls_disable = true
}
`

// A command line that cannot be meant ends with 1 and a sentence that says what
// to do; the root token is never in it.
func TestServerRefusesFlags(t *testing.T) {
	t.Parallel()
	config := file(t, sound)
	for name, c := range map[string]struct {
		args []string
		env  map[string]string
		want string
	}{
		"neither":              {args: nil, want: "-config=FILE or -dev"},
		"both":                 {args: []string{"-dev", "-config=" + config}, want: "takes no -config"},
		"dev token alone":      {args: []string{"-config=" + config, "-dev-root-token-id=" + token}, want: "for -dev only"},
		"no such file":         {args: []string{"-config=/nowhere/curfew.hcl"}, want: "/nowhere/curfew.hcl"},
		"a directory":          {args: []string{"-config=" + t.TempDir()}, want: "read configuration"},
		"no HCL":               {args: []string{"-config=" + file(t, `data_dir = "unterminated`)}, want: "parse"},
		"unknown key":          {args: []string{"-config=" + file(t, sound+"\nbanana = 1")}, want: `unknown key "banana"`},
		"no data_dir":          {args: []string{"-config=" + file(t, `listener "tcp" { address = "127.0.0.1:0" tls_disable = true }`)}, want: "data_dir is needed"},
		"bad environment":      {args: []string{"-config=" + config}, env: map[string]string{"CURFEW_AUTO_INIT": "perhaps"}, want: "CURFEW_AUTO_INIT"},
		"bad level":            {args: []string{"-config=" + config, "-log-level=loud"}, want: "log_level"},
		"bad dev address":      {args: []string{"-dev", "-dev-listen-address=8200", "-dev-root-token-id=" + token}, want: "127.0.0.1:8200"},
		"an argument too many": {args: []string{"-dev", "now"}, want: "now"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			code, stdout, stderr := run(t, c.env, append([]string{"server"}, c.args...)...)
			if code != 1 || !strings.Contains(stderr, c.want) {
				t.Errorf("exit code %d, stderr %q; want 1 and %q", code, stderr, c.want)
			}
			if strings.Contains(stdout+stderr, token) {
				t.Error("the root token was printed")
			}
		})
	}
}

// -check-config prints what would be used, flag over environment over file over
// default, and starts nothing.
func TestCheckConfig(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	config := file(t, strings.ReplaceAll(sound, "/var/lib/curfew", "/overridden")+`
log_level  = "warn"
log_format = "text"
`)
	code, stdout, stderr := run(t, map[string]string{"CURFEW_DATA_DIR": dir, "CURFEW_LOG_LEVEL": "error"},
		"server", "-config="+config, "-check-config", "-log-level=debug")
	if code != 0 || stderr != "" {
		t.Fatalf("exit code %d, stderr %q", code, stderr)
	}
	var got struct {
		DataDir, KeyFile string
		AutoInit         bool
		Log              struct{ Level, Format string }
	}
	if err := json.Unmarshal([]byte(stdout), &got); err != nil {
		t.Fatalf("%v:\n%s", err, stdout)
	}
	if got.DataDir != dir || got.KeyFile != filepath.Join(dir, "seal.key") || !got.AutoInit || got.Log.Level != "debug" || got.Log.Format != "text" {
		t.Errorf("the configuration is %+v", got)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("the data directory was made")
	}
}

func TestCheckConfigPrintsNoSecret(t *testing.T) {
	t.Parallel()
	code, stdout, stderr := run(t, nil, "server", "-dev", "-dev-root-token-id="+token, "-check-config")
	if code != 0 || !strings.Contains(stdout, "DevToken") {
		t.Fatalf("exit code %d\n%s\n%s", code, stdout, stderr)
	}
	if strings.Contains(stdout+stderr, token) {
		t.Error("the root token was printed")
	}
}

// What keeps a server from starting ends the program with 1.
func TestServerCannotStart(t *testing.T) {
	t.Parallel()
	config := file(t, `
data_dir = "`+t.TempDir()+`"
listener "tcp" {
  address       = "127.0.0.1:0"
  tls_cert_file = "/nowhere.pem"
  tls_key_file  = "/nowhere.key"
}`)
	code, stdout, stderr := run(t, nil, "server", "-config="+config)
	if code != 1 || stdout != "" || !strings.Contains(stderr, "/nowhere.pem") {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
}

func TestVerifyNeedsADirectory(t *testing.T) {
	t.Parallel()
	if code, _, stderr := run(t, nil, "audit", "verify"); code != 1 || !strings.Contains(stderr, "-data-dir") {
		t.Errorf("exit code %d, stderr %q", code, stderr)
	}
	code, stdout, stderr := run(t, nil, "audit", "verify", "-data-dir="+t.TempDir())
	if code == 0 {
		t.Errorf("a directory without a ledger was verified:\n%s%s", stdout, stderr)
	}
}
