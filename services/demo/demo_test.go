//go:build e2e

package main

import (
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// inForms runs a test of the demo in both forms.
func inForms(t *testing.T, test func(t *testing.T, flags ...string)) {
	t.Helper()
	for _, form := range []string{oneMachine, distributed} {
		t.Run(form, func(t *testing.T) {
			t.Parallel()
			test(t, "-form="+form)
		})
	}
}

// The demo must meet only what it started, whatever its user has configured.
func TestDemoTellsTheWholeStory(t *testing.T) {
	t.Parallel()
	inForms(t, tellsTheWholeStory)
}

func tellsTheWholeStory(t *testing.T, flags ...string) {
	t.Helper()
	d := play(t, flags,
		"VAULT_ADDR=http://127.0.0.1:1", "VAULT_TOKEN=hvs.foreign-setting", "VAULT_NAMESPACE=foreign-setting", "VAULT_FORMAT=yaml", "BAO_ADDR=http://127.0.0.1:1",
		"CURFEW_ADDR=http://127.0.0.1:1", "CURFEW_TOKEN=foreign-setting", "CURFEW_DATA_DIR=/nonexistent", "CURFEW_LISTEN_ADDRESS=127.0.0.1:1",
		"PGHOST=/nonexistent", "PGPORT=1", "PGUSER=foreign-setting", "PGSSLMODE=verify-full", "PGSERVICE=foreign-setting", "PGOPTIONS=-c default_transaction_read_only=on",
	)
	d.end(t, 0)
	story := d.out.String()
	at := 0
	for _, sentence := range []string{
		"curfew secrets enable database", "Success! Enabled", "curfew write database/config/shop", "curfew write database/roles/readonly",
		"curfew read -format=json database/creds/readonly", "Postgres has both accounts", "logs in", "curfew lease renew",
		"VALID UNTIL moved", "curfew lease revoke -sync", "is refused", "57P01", "neither of the two accounts",
		"curfew audit entries", "lease.revoked", "system:expiry", "curfew audit verify", "the ledger is what was signed", "Both credentials are gone",
	} {
		next := strings.Index(story[at:], sentence)
		if next < 0 {
			t.Fatalf("the story does not say %q after its first %d bytes:\n%s", sentence, at, story)
		}
		at += next
	}
	if shown := regexp.MustCompile(`"password": "[^(]|hvs\.`).FindString(story); shown != "" {
		t.Errorf("a secret is shown: %s…", shown)
	}
	if strings.Contains(story, "foreign-setting") {
		t.Errorf("the story knows the caller's settings:\n%s", story)
	}
}

func TestDemoFailsWithoutRevoker(t *testing.T) {
	t.Parallel()
	inForms(t, func(t *testing.T, flags ...string) {
		t.Helper()
		d := play(t, flags, "CURFEW_DEMO_PAUSED=1")
		d.end(t, 1)
		if said := d.errOut.String(); !strings.Contains(said, "FAILED: step 7 (Revoke the other)") {
			t.Errorf("it does not name the step that failed:\n%s", said)
		}
		if strings.Contains(d.out.String(), "Both credentials are gone") {
			t.Error("it tells the end of the story")
		}
	})
}

// Each of these stands in for a Curfew that is broken in one place: some fail,
// some only claim to have done what they were asked for.
func TestDemoFailsWhenAStepDoes(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ when, do, says string }{
		"engine refused":      {`'secrets enable '*`, `echo no >&2; exit 2`, "step 1 "},
		"role forgotten":      {`'write database/roles/'*`, `echo Success!; exit 0`, "step 4 "},
		"one account twice":   {`'read '*`, `[ -e answer ] || "$real" "$@" >answer; cat answer; exit 0`, "both requests got the account"},
		"renewal pretended":   {`'lease renew '*`, `echo Success!; exit 0`, "VALID UNTIL in Postgres did not move"},
		"revocation imagined": {`'lease revoke '*`, `echo Success!; exit 0`, "postgres still has the account"},
		"entry lost":          {`'audit entries -format=json '*`, `"$real" "$@" | sed 's/lease.revoking/lease.progress/'; exit 0`, "step 9 "},
		"ledger damaged":      {`'audit verify '*`, `echo damaged >&2; exit 2`, "step 10 "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			script := filepath.Join(t.TempDir(), "curfew")
			text := "#!/bin/sh\nreal='" + filepath.Join(bin(t), "curfew") + "'\ncase \"$*\" in " + tc.when + ") " + tc.do + ";; esac\nexec \"$real\" \"$@\"\n"
			if err := os.WriteFile(script, []byte(text), 0o700); err != nil {
				t.Fatal(err)
			}
			d := start(t, script)
			d.end(t, 1)
			if said := d.errOut.String(); !strings.Contains(said, tc.says) {
				t.Errorf("it does not say %q:\n%s", tc.says, said)
			}
		})
	}
}

func TestDemoWithABrokenServer(t *testing.T) {
	t.Parallel()
	script := filepath.Join(t.TempDir(), "curfew")
	if err := os.WriteFile(script, []byte("#!/bin/sh\necho out of luck >&2\nexit 1\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	d := start(t, script)
	d.end(t, 1)
	if said := d.errOut.String(); !strings.Contains(said, "out of luck") {
		t.Errorf("the server's own words are not shown:\n%s", said)
	}
}

// ^C at any time leaves nothing behind.
func TestDemoCleansUpAfterInterrupt(t *testing.T) {
	t.Parallel()
	inForms(t, func(t *testing.T, flags ...string) {
		t.Helper()
		for _, when := range []string{"Looking for Postgres", "== 1/10", "Its session is still in its query"} {
			t.Run(when, func(t *testing.T) {
				t.Parallel()
				d := play(t, flags)
				d.until(t, when)
				d.interrupt(t)
				d.end(t, 130)
			})
		}
	})
}

func TestKeepLeavesItRunning(t *testing.T) {
	t.Parallel()
	inForms(t, keepLeavesItRunning)
}

func keepLeavesItRunning(t *testing.T, flags ...string) {
	t.Helper()
	d := play(t, flags, "KEEP=1")
	d.until(t, "Stop: ^C here")
	address := regexp.MustCompile(`stays running \(KEEP=1\), at (http://127\.0\.0\.1:\d+)`).FindStringSubmatch(d.out.String())
	if address == nil {
		t.Fatalf("no address is printed:\n%s", d.out)
	}
	res, err := http.Get(address[1] + "/v1/sys/health")
	if err != nil {
		t.Fatal(err)
	}
	if err := res.Body.Close(); err != nil || res.StatusCode != http.StatusOK {
		t.Errorf("health is %s, %v", res.Status, err)
	}
	d.interrupt(t)
	d.end(t, 0)
}

func TestNoPostgresNamesEachWay(t *testing.T) {
	t.Parallel()
	d := start(t, "", "CURFEW_PG_BIN=/nonexistent")
	d.end(t, 2)
	said := d.errOut.String()
	for _, way := range []string{"CURFEW_PG_BIN", "installed:", "docker:", "apt:"} {
		if !strings.Contains(said, "\n  "+way) {
			t.Errorf("no line for %s:\n%s", way, said)
		}
	}
}

func TestFormMustBeKnown(t *testing.T) {
	t.Parallel()
	d := play(t, []string{"-form=local"})
	d.end(t, 2)
	if said := d.errOut.String(); !strings.Contains(said, oneMachine) || !strings.Contains(said, distributed) {
		t.Errorf("it does not name the forms:\n%s", said)
	}
}
