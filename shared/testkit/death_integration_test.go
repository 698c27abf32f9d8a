//go:build integration && linux

package testkit_test

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/curfew-project/curfew/shared/testkit"
	"github.com/curfew-project/curfew/shared/testkit/server"
)

// play is the variable by which the tests below tell a second run of this
// binary what to do.
const play = "CURFEW_TESTKIT_PLAY"

// TestVictim is no test of its own: it starts servers in the process that
// another test ends.
func TestVictim(t *testing.T) {
	act := os.Getenv(play)
	if act == "" {
		t.Skip("played by the other tests")
	}
	shared, own, r := testkit.SharedPostgres(t), testkit.Postgres(t), testkit.Redis(t)
	fmt.Printf("processes %d %d %d\n", shared.Pid(), own.Pid(), r.Pid())
	fmt.Printf("addresses %s:%d %s:%d %s\n", shared.Host(), shared.Port(), own.Host(), own.Port(), r.Address())
	if act == "panic" {
		panic("as told")
	}
	<-t.Context().Done()
}

// However a test binary ends, its servers end with it; after ^C their files
// are gone, too.
func TestServersDieWithTheTests(t *testing.T) {
	t.Parallel()
	for act, end := range map[string]syscall.Signal{"kill": syscall.SIGKILL, "interrupt": syscall.SIGINT, "panic": 0} {
		t.Run(act, func(t *testing.T) {
			t.Parallel()
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestVictim$", "-test.v")
			temp := tempDir(t)
			cmd.Env = append(os.Environ(), play+"="+act, "TMPDIR="+temp)
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			lines := bufio.NewScanner(out)
			pids, addresses := announced(t, lines, "processes"), announced(t, lines, "addresses")
			if end != 0 {
				if err := cmd.Process.Signal(end); err != nil {
					t.Error(err)
				}
			}
			for lines.Scan() { // to the end of the output
			}
			if err := cmd.Wait(); err == nil {
				t.Error("the victim ended well")
			}
			for i, text := range pids {
				pid, err := strconv.Atoi(text)
				if err != nil || pid == 0 {
					t.Fatalf("the victim announced process %q", text)
				}
				awaitDeath(t, pid, addresses[i])
			}
			if left, err := os.ReadDir(temp); act == "interrupt" && (err != nil || len(left) > 0) {
				t.Errorf("left behind after ^C: %v, %v", left, err)
			}
		})
	}
}

// tempDir is a folder for temporary files that the user of Postgres can reach,
// as those that testing makes cannot be.
func tempDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "curfew-victim-") //nolint:usetesting // see above
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	return dir
}

// announced reads a line of three words from the victim.
func announced(t *testing.T, lines *bufio.Scanner, what string) []string {
	t.Helper()
	for lines.Scan() {
		if rest, ok := strings.CutPrefix(lines.Text(), what+" "); ok {
			if words := strings.Fields(rest); len(words) == 3 {
				return words
			}
		}
	}
	t.Fatalf("the victim announced no %s", what)
	return nil
}

// awaitDeath returns when the process is gone and nothing answers at its
// address, which also tells of a server in a container.
func awaitDeath(t *testing.T, pid int, address string) {
	t.Helper()
	hang := time.Now().Add(time.Minute)
	for {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			_ = conn.Close()
		}
		if err != nil && !server.Alive(pid) {
			return
		}
		if time.Now().After(hang) {
			t.Errorf("the server at %s outlived the tests", address)
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// A server that this machine lacks skips a test, and fails it in CI.
func TestMissingServer(t *testing.T) {
	t.Parallel()
	for ci, want := range map[string]string{"": "--- SKIP: TestVictim", "1": "--- FAIL: TestVictim"} {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestVictim$", "-test.v")
		cmd.Env = append(os.Environ(), play+"=start", "CURFEW_PG_BIN=/nowhere", "CURFEW_CI="+ci)
		out, err := cmd.CombinedOutput()
		if (err != nil) != (ci == "1") || !bytes.Contains(out, []byte(want)) ||
			!bytes.Contains(out, []byte("CURFEW_PG_BIN=/nowhere: holds no postgres")) {
			t.Errorf("CURFEW_CI=%q: %v\n%s", ci, err, out)
		}
	}
}
