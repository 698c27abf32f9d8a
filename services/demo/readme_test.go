//go:build e2e

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/curfew-project/curfew/shared/testkit"
	"github.com/curfew-project/curfew/shared/testkit/server"
)

// readme is the README's marked blocks, by mark, in order.
func readme(t *testing.T) map[string][]string {
	t.Helper()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := map[string][]string{}
	marked := regexp.MustCompile("(?s)<!-- test: ([a-z]+) -->\n```[a-z]+\n(.*?)```")
	for _, m := range marked.FindAllStringSubmatch(string(text), -1) {
		blocks[m[1]] = append(blocks[m[1]], m[2])
	}
	if n := strings.Count(string(text), "<!-- test:"); n != len(marked.FindAllString(string(text), -1)) {
		t.Fatalf("%d marks in the README, not all before a block", n)
	}
	return blocks
}

// reader is somebody who follows the README: in a folder with bin/, with bash,
// and with the addresses of this test in place of the usual ones.
type reader struct {
	dir     string
	blocks  map[string][]string
	replace *strings.Replacer
}

func newReader(t *testing.T, cluster *testkit.Cluster) *reader {
	t.Helper()
	r := &reader{dir: t.TempDir(), blocks: readme(t)}
	programs := bin(t)
	if err := os.Mkdir(filepath.Join(r.dir, "bin"), 0o700); err != nil {
		t.Fatal(err)
	}
	// vault is who has it; here it is what the README names as the way without.
	for link, program := range map[string]string{"curfew": "curfew", "vault": "curfew", "subscriber": "subscriber"} {
		if err := os.Symlink(filepath.Join(programs, program), filepath.Join(r.dir, "bin", link)); err != nil {
			t.Fatal(err)
		}
	}
	r.replace = strings.NewReplacer(
		"127.0.0.1:8200", fmt.Sprintf("127.0.0.1:%d", testkit.Port(t)),
		"127.0.0.1:4222", fmt.Sprintf("127.0.0.1:%d", testkit.Port(t)),
		"localhost:5432", fmt.Sprintf("localhost:%d", cluster.Port()),
	)
	return r
}

// block is all blocks with a mark, as one script.
func (r *reader) block(t *testing.T, mark string) string {
	t.Helper()
	if len(r.blocks[mark]) == 0 {
		t.Fatalf("the README has no block marked %s", mark)
	}
	return r.replace.Replace(strings.Join(r.blocks[mark], ""))
}

func (r *reader) command(ctx context.Context, script string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", script)
	cmd.Dir = r.dir
	cmd.Env = append(server.Environ(os.Environ(), r.dir), "TMPDIR="+r.dir, "PATH="+filepath.Join(r.dir, "bin")+":"+os.Getenv("PATH"))
	return cmd
}

// shell runs the blocks with a mark in one shell and returns what they print.
func (r *reader) shell(t *testing.T, mark string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), hang)
	defer cancel()
	out, err := r.command(ctx, r.block(t, mark)).CombinedOutput()
	if err != nil {
		t.Fatalf("the README's %s block: %v\n%s", mark, err, out)
	}
	return string(out)
}

// background runs a block that does not end by itself, until it has said
// something, and returns how to end it as ^C does.
func (r *reader) background(t *testing.T, mark, says string) (stop func()) {
	t.Helper()
	out := &output{}
	cmd := r.command(context.Background(), "exec "+strings.TrimSpace(r.block(t, mark)))
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		if err := cmd.Process.Signal(os.Interrupt); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Error(err)
		}
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("the README's %s block ended with %v:\n%s", mark, err, out)
			}
		case <-time.After(hang):
			_ = cmd.Process.Signal(syscall.SIGKILL)
			t.Errorf("the README's %s block does not stop:\n%s", mark, out)
		}
	}
	t.Cleanup(stop)
	for deadline := time.Now().Add(hang); !strings.Contains(out.String(), r.replace.Replace(says)); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the README's %s block does not say %q:\n%s", mark, says, out)
		}
	}
	return stop
}

func TestREADME(t *testing.T) {
	t.Parallel()
	cluster := testkit.Postgres(t)
	r := newReader(t, cluster)
	cluster.Exec(t, "postgres", r.block(t, "target"))
	accounts := func() (n int) {
		t.Helper()
		look := testkit.Connect(t, cluster.AdminURL("postgres"))
		if err := look.QueryRow(t.Context(), `SELECT count(*) FROM pg_roles WHERE rolname LIKE 'v-%'`).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}

	stop := r.background(t, "dev", "http://127.0.0.1:8200")
	said := r.shell(t, "client")
	for _, line := range []string{`lease_id +database/creds/readonly/\S+`, `lease_duration +1h`, `password +\S{24}`, `username +v-root-readonly-\S+`, `lease_duration +2h`, `Revoked lease: database/creds/readonly/`} {
		if !regexp.MustCompile(line).MatchString(said) {
			t.Errorf("no line as %q in:\n%s", line, said)
		}
	}
	if n := accounts(); n != 0 {
		t.Errorf("%d accounts are left after the prefix was revoked", n)
	}
	// "When a dev server stops, it first revokes all its leases."
	r.blocks["again"] = []string{strings.SplitAfter(r.blocks["client"][0], "VAULT_TOKEN=root\n")[0] + "vault read database/creds/readonly\n"}
	r.shell(t, "again")
	if n := accounts(); n != 1 {
		t.Errorf("%d accounts, want 1", n)
	}
	stop()
	if n := accounts(); n != 0 {
		t.Errorf("the dev server left %d accounts behind", n)
	}

	// The same walk on a server that keeps its data.
	if err := os.WriteFile(filepath.Join(r.dir, "curfew.hcl"), []byte(r.block(t, "config")), 0o600); err != nil {
		t.Fatal(err)
	}
	stop = r.background(t, "server", "http://127.0.0.1:8200")
	token, err := os.ReadFile(filepath.Join(r.dir, "data", "root-token"))
	if err != nil {
		t.Fatal(err)
	}
	hook := "#!/bin/sh\necho \"reloaded for $CURFEW_ACCOUNT\" >>reloads\n"
	if err := os.WriteFile(filepath.Join(r.dir, "reload-pool"), []byte(hook), 0o700); err != nil {
		t.Fatal(err)
	}
	for i, block := range r.blocks["client"] {
		r.blocks["client"][i] = strings.Replace(block, "VAULT_TOKEN=root", "VAULT_TOKEN="+strings.TrimSpace(string(token)), 1)
	}
	r.shell(t, "client")
	stopSubscriber := r.background(t, "subscriber", "lease.revoked database/creds/readonly/")
	stopSubscriber()
	if reloads, err := os.ReadFile(filepath.Join(r.dir, "reloads")); err != nil || !strings.Contains(string(reloads), "reloaded for v-") {
		t.Errorf("the pool was not reloaded: %q, %v", reloads, err)
	}
	said = r.shell(t, "record")
	for _, words := range []string{"lease.created", "lease.revoked", "the ledger is what was signed"} {
		if !strings.Contains(said, words) {
			t.Errorf("the record block does not say %q:\n%s", words, said)
		}
	}
	// The commands of an operator, in the same shell as those before.
	exports := strings.SplitAfter(r.blocks["record"][0], "root-token)\n")[0]
	r.blocks["installation"] = append([]string{exports}, r.blocks["installation"]...)
	said = r.shell(t, "installation")
	for _, line := range []string{`Store +in order`, `Stray sweeps +accounts without a lease are taken away`, `there was nothing to confirm`} {
		if !regexp.MustCompile(line).MatchString(said) {
			t.Errorf("no line as %q in:\n%s", line, said)
		}
	}
	stop()
}
