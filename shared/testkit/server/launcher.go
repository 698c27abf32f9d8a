package server

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/curfew-project/curfew/shared/testkit/find"
)

// underWatch runs a server inside a container, passes signals on to it, and
// kills it when standard input closes, which happens when the docker client
// ends, in whatever way: a container would otherwise outlive it. (Not with
// QUIT: a shell starts background commands with INT and QUIT ignored, and
// Redis leaves QUIT so.) What the server leaves behind ends with the container.
const underWatch = `
exec 3<&0
"$@" </dev/null & child=$!
trap 'kill -INT $child' INT
trap 'kill -TERM $child' TERM
trap 'kill -QUIT $child' QUIT
(cat <&3 >/dev/null; kill -KILL $child) 2>/dev/null & watch=$!
while kill -0 $child 2>/dev/null; do wait $child; done
kill $watch 2>/dev/null
:`

// launcher turns the programs that were found into commands, so that the rest
// of the package need not know whether they lie in a folder or in an image.
type launcher struct {
	programs find.Programs
	owner    *syscall.Credential
	environ  []string // the caller's own
	dir      string   // the server's folder, with the same name in a container
	port     *Port
	closing  sync.Once
}

func newLauncher(programs find.Programs, environ []string, parent, pattern string) (_ *launcher, err error) {
	l := &launcher{programs: programs, environ: environ}
	if l.owner, err = owner(); err != nil {
		return nil, err
	}
	if l.dir, err = folder(parent, pattern, l.owner); err != nil {
		return nil, err
	}
	if l.port, err = TakePort(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(l.dir))
	}
	if err = l.prepare(); err != nil {
		return nil, errors.Join(err, l.close())
	}
	return l, nil
}

func (l *launcher) prepare() error {
	if err := os.Mkdir(l.home(), 0o700); err != nil {
		return fmt.Errorf("make a home folder: %w", err)
	}
	if err := give(l.home(), l.owner); err != nil {
		return err
	}
	if l.programs.Source != find.Docker {
		return nil
	}
	// initdb looks for the name of its user, which the image does not know.
	uid, gid := l.ids()
	passwd := fmt.Sprintf("root:x:0:0::/:/bin/sh\ncurfew:x:%d:%d::%s:/bin/sh\n", uid, gid, l.home())
	return os.WriteFile(l.passwd(), []byte(passwd), 0o644)
}

func (l *launcher) home() string   { return filepath.Join(l.dir, "home") }
func (l *launcher) passwd() string { return filepath.Join(l.dir, "passwd") }
func (l *launcher) log() string    { return filepath.Join(l.dir, "server.log") }

func (l *launcher) ids() (uid, gid int) {
	if l.owner != nil {
		return int(l.owner.Uid), int(l.owner.Gid)
	}
	return os.Getuid(), os.Getgid()
}

// tool is a command that runs to its end.
func (l *launcher) tool(ctx context.Context, env []string, name string, args ...string) *exec.Cmd {
	if l.programs.Source == find.Docker {
		argv := append(l.docker(env, "--entrypoint", name), args...)
		cmd := exec.CommandContext(ctx, l.programs.Docker, argv...)
		cmd.Env = withoutLeads(l.environ)
		return cmd
	}
	return l.asOwner(exec.CommandContext(ctx, filepath.Join(l.programs.Dir, name), args...), env)
}

// asOwner gives a command that runs beside us its user, folder and environment.
func (l *launcher) asOwner(cmd *exec.Cmd, env []string) *exec.Cmd {
	cmd.Env = append(Environ(l.environ, l.home()), env...)
	cmd.Dir = l.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: l.owner}
	return cmd
}

// server is a command that runs until it is stopped, writing to the log. It
// has no context: it lives until Stop, Kill or Close.
func (l *launcher) server(args ...string) (*process, error) {
	log, err := os.OpenFile(l.log(), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the server's log: %w", err)
	}
	defer func() { _ = log.Close() }() // the child has its own

	name := l.programs.Server
	var cmd *exec.Cmd
	onOurDeath := syscall.SIGQUIT // Postgres: stop at once, with all children
	if l.programs.Source == find.Docker {
		argv := l.docker(nil, "-i", "--name", l.container(), "--entrypoint", "/bin/sh")
		argv = append(argv, "-c", underWatch, name, name)
		cmd = exec.Command(l.programs.Docker, append(argv, args...)...)
		cmd.Env = withoutLeads(l.environ)
		if _, err := cmd.StdinPipe(); err != nil { // open until Wait; see underWatch
			return nil, err
		}
		onOurDeath = syscall.SIGKILL
	} else {
		cmd = l.asOwner(exec.Command(filepath.Join(l.programs.Dir, name), args...), nil)
		if name != "postgres" {
			onOurDeath = syscall.SIGKILL
		}
	}
	cmd.Stdout, cmd.Stderr = log, log
	return start(cmd, onOurDeath)
}

// docker is the part of a command that all containers share, up to and
// including the image.
func (l *launcher) docker(env []string, options ...string) []string {
	uid, gid := l.ids()
	argv := []string{
		"run", "--rm", "--user", fmt.Sprintf("%d:%d", uid, gid),
		"-v", l.dir + ":" + l.dir, "-v", l.passwd() + ":/etc/passwd:ro",
		"-w", l.dir, "-e", "HOME=" + l.home(),
	}
	if l.published() {
		port := strconv.Itoa(l.port.Number)
		argv = append(argv, "-p", "127.0.0.1:"+port+":"+port)
	} else {
		argv = append(argv, "--network", "host")
	}
	for _, entry := range env {
		argv = append(argv, "-e", entry)
	}
	argv = append(argv, options...)
	return append(argv, l.programs.Image)
}

// published reports whether the server lives in a network of its own, from
// which docker forwards the port. On Linux a container can use ours instead.
func (l *launcher) published() bool {
	return l.programs.Source == find.Docker && runtime.GOOS != "linux"
}

// listen is the address for the server to listen on.
func (l *launcher) listen() string {
	if l.published() {
		return "0.0.0.0" // of its own network; docker forwards from our loopback only
	}
	return "127.0.0.1"
}

func (l *launcher) container() string { return filepath.Base(l.dir) }

// kill ends a server as a power cut would.
func (l *launcher) kill(ctx context.Context, p *process) error {
	if l.programs.Source != find.Docker {
		return p.killTree(ctx)
	}
	cmd := exec.CommandContext(ctx, l.programs.Docker, "kill", l.container())
	cmd.Env = withoutLeads(l.environ)
	if out, err := cmd.CombinedOutput(); err != nil && p.running() {
		return fmt.Errorf("kill container %s: %w: %s", l.container(), err, strings.TrimSpace(string(out)))
	}
	return p.wait(ctx)
}

// close removes what the server had, once.
func (l *launcher) close() (err error) {
	l.closing.Do(func() { err = errors.Join(l.port.Close(), os.RemoveAll(l.dir)) })
	return err
}
