package server

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/curfew-project/curfew/shared/testkit/find"
)

func TestEnvironHidesTheUser(t *testing.T) {
	t.Parallel()
	got := Environ([]string{
		"PATH=/bin", "HOME=/home/me", "PGPASSWORD=x", "PGHOST=db", "VAULT_TOKEN=x", "BAO_ADDR=x", "CURFEW_PG_BIN=/pg", "LANG=C",
	}, "/tmp/h")
	want := []string{"PATH=/bin", "CURFEW_PG_BIN=/pg", "LANG=C", "HOME=/tmp/h"}
	if !slices.Equal(got, want) {
		t.Errorf("Environ: %q, want %q", got, want)
	}
}

// No two live ports are the same, whoever takes them at the same time, and
// none is of those from which systems choose for outgoing connections.
func TestPortsDiffer(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	taken := map[int]*Port{}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				port, err := TakePort()
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				if taken[port.Number] != nil {
					t.Errorf("port %d was given twice", port.Number)
				}
				taken[port.Number] = port
				mu.Unlock()
				if port.Number < 1024 || port.Number >= 32768 {
					t.Errorf("port %d", port.Number)
				}
			}
		})
	}
	wg.Wait()
	for _, port := range taken {
		if err := port.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestPostgresNeedsAPassword(t *testing.T) {
	t.Parallel()
	if _, err := NewPostgres(PostgresConfig{}); err == nil {
		t.Error("a cluster without a password was made")
	}
}

// A container is ours alone, shares nothing but the server's folder, and has
// its name and its programs in the right places of the command.
func TestDockerCommand(t *testing.T) {
	t.Parallel()
	programs := find.Programs{Source: find.Docker, Docker: "/bin/docker", Image: "postgres:17", Server: "postgres"}
	l, err := newLauncher(programs, []string{"DOCKER_HOST=x", "PGPASSWORD=y"}, "", "curfew-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.close(); err != nil {
			t.Error(err)
		}
	})
	cmd := l.tool(t.Context(), []string{"PGPASSWORD=pw"}, "initdb", "--pgdata=x")
	argv := strings.Join(cmd.Args, " ")
	for _, part := range []string{
		"/bin/docker run --rm --user ", " -v " + l.dir + ":" + l.dir + " ", ":/etc/passwd:ro ",
		" -e PGPASSWORD=pw ", " --entrypoint initdb postgres:17 --pgdata=x",
	} {
		if !strings.Contains(argv, part) {
			t.Errorf("%q is missing in: %s", part, argv)
		}
	}
	if !slices.Equal(cmd.Env, []string{"DOCKER_HOST=x"}) {
		t.Errorf("the docker client sees %q", cmd.Env)
	}
}

// play is the variable that makes a second run of this binary a server.
const play = "CURFEW_SERVER_PLAY"

// TestPlayServer is no test of its own: it runs until a signal and says which.
func TestPlayServer(t *testing.T) {
	if os.Getenv(play) == "" {
		t.Skip("played by TestUnderWatch")
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT)
	fmt.Println("up")
	fmt.Println(<-signals)
}

// What runs in a container is told of a signal to its first process, and is
// killed when the docker client is gone; nothing is left in either case.
func TestUnderWatch(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		end  func(cmd *exec.Cmd, stdin io.Closer) error
		want os.Signal // nil: none that can be handled
	}{
		"fast":        {func(cmd *exec.Cmd, _ io.Closer) error { return cmd.Process.Signal(syscall.SIGINT) }, syscall.SIGINT},
		"smart":       {func(cmd *exec.Cmd, _ io.Closer) error { return cmd.Process.Signal(syscall.SIGTERM) }, syscall.SIGTERM},
		"client gone": {func(_ *exec.Cmd, stdin io.Closer) error { return stdin.Close() }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.CommandContext(t.Context(), "/bin/sh", "-c", underWatch, "sh", os.Args[0], "-test.run=^TestPlayServer$")
			cmd.Env = append(os.Environ(), play+"=1")
			stdin, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			stdout, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			lines := bufio.NewScanner(stdout)
			if !lines.Scan() || lines.Text() != "up" {
				t.Fatalf("the server says %q", lines.Text())
			}
			if err := test.end(cmd, stdin); err != nil {
				t.Fatal(err)
			}
			var told []string
			for lines.Scan() { // until nothing holds the output open any longer
				told = append(told, lines.Text())
			}
			if test.want == nil && len(told) > 0 {
				t.Errorf("the server was told %q, not killed", told)
			}
			if test.want != nil && (len(told) == 0 || told[0] != test.want.String()) {
				t.Errorf("the server was told %q, want %v", told, test.want)
			}
			if err := cmd.Wait(); err != nil {
				t.Errorf("the watch ended with %v", err)
			}
		})
	}
}
