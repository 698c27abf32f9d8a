package find

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Source names the way by which programs were found.
type Source string

// The ways, in the order in which they are tried.
const (
	Named     Source = "environment"
	Installed Source = "installed"
	Docker    Source = "docker"
	Apt       Source = "apt"
)

// Programs says how the programs of one server are run.
type Programs struct {
	Source Source
	// Dir is the folder of the programs; empty with Docker.
	Dir string
	// Docker is the path of the docker client and Image the image that holds
	// the programs; both empty otherwise.
	Docker, Image string
	// Server is the file name of the server program.
	Server string
}

// String tells a person what will be used.
func (p Programs) String() string {
	if p.Source == Docker {
		return fmt.Sprintf("%s in image %s (docker)", p.Server, p.Image)
	}
	return fmt.Sprintf("%s (%s)", filepath.Join(p.Dir, p.Server), p.Source)
}

// NotFoundError says, one line for each way, why no programs were found.
type NotFoundError struct {
	Server string
	Ways   []string
}

func (e *NotFoundError) Error() string {
	return "no " + e.Server + " found:\n  " + strings.Join(e.Ways, "\n  ")
}

// Finder looks for programs. Its zero value sees an empty environment and
// installs nothing.
type Finder struct {
	// Getenv reads the environment of the caller (os.Getenv in a program).
	Getenv func(string) string
	// Install allows the last way, apt.
	Install bool
	// Log receives the output of an installation; nil discards it.
	Log io.Writer

	root string // of the file system, for tests
}

// wanted describes a server to look for.
type wanted struct {
	name     string
	variable string
	// servers are the names that the server program goes by; the first that
	// exists is used. tools must lie beside it.
	servers, tools []string
	// globs are the usual folders outside PATH.
	globs   []string
	image   string
	pkg     string
	service string
}

// Postgres finds initdb, postgres and pg_basebackup.
func (f Finder) Postgres(ctx context.Context) (Programs, error) {
	return f.find(ctx, wanted{
		name: "Postgres", variable: "CURFEW_PG_BIN",
		servers: []string{"postgres"}, tools: []string{"initdb", "pg_basebackup"},
		globs: []string{
			"/usr/lib/postgresql/*/bin",          // Debian
			"/usr/pgsql-*/bin",                   // Red Hat
			"/opt/homebrew/opt/postgresql@*/bin", // macOS
		},
		image: "postgres:17", pkg: "postgresql", service: "postgresql",
	})
}

// Redis finds redis-server, or valkey-server, which is the same to us.
func (f Finder) Redis(ctx context.Context) (Programs, error) {
	return f.find(ctx, wanted{
		name: "Redis", variable: "CURFEW_REDIS_BIN",
		servers: []string{"redis-server", "valkey-server"},
		globs:   []string{"/usr/bin", "/opt/homebrew/bin"},
		image:   "redis:7", pkg: "redis-server", service: "redis-server",
	})
}

func (f Finder) find(ctx context.Context, w wanted) (Programs, error) {
	missing := &NotFoundError{Server: w.name}
	if value := f.getenv(w.variable); value != "" {
		programs, err := named(value, w)
		if err == nil {
			return programs, nil
		}
		missing.Ways = []string{
			fmt.Sprintf("%s=%s: %v", w.variable, value, err),
			fmt.Sprintf("installed: not looked for while %s is set", w.variable),
			fmt.Sprintf("docker: not tried while %s is set", w.variable),
			fmt.Sprintf("apt: not tried while %s is set", w.variable),
		}
		return Programs{}, missing
	}
	missing.Ways = append(missing.Ways, w.variable+": not set")

	if dir, server := f.installed(w); dir != "" {
		return Programs{Source: Installed, Dir: dir, Server: server}, nil
	}
	missing.Ways = append(missing.Ways, fmt.Sprintf("installed: no %s in PATH or %s",
		strings.Join(append(slices.Clone(w.servers[:1]), w.tools...), ", "), strings.Join(w.globs, ", ")))

	docker, err := f.docker(ctx)
	if err == nil {
		return Programs{Source: Docker, Docker: docker, Image: w.image, Server: w.servers[0]}, nil
	}
	missing.Ways = append(missing.Ways, "docker: "+err.Error())

	if err = f.apt(ctx, w); err == nil {
		if dir, server := f.installed(w); dir != "" {
			return Programs{Source: Apt, Dir: dir, Server: server}, nil
		}
		err = fmt.Errorf("package %s is installed but brought no %s", w.pkg, w.servers[0])
	}
	missing.Ways = append(missing.Ways, "apt: "+err.Error())
	return Programs{}, missing
}

// named takes what a variable says: a folder, or the server program itself.
func named(value string, w wanted) (Programs, error) {
	dir, servers := value, w.servers
	if info, err := os.Stat(value); err == nil && !info.IsDir() {
		dir, servers = filepath.Dir(value), []string{filepath.Base(value)}
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return Programs{}, err
	}
	server := complete(dir, servers, w.tools)
	if server == "" {
		return Programs{}, fmt.Errorf("holds no %s", strings.Join(append(slices.Clone(servers[:1]), w.tools...), ", "))
	}
	return Programs{Source: Named, Dir: dir, Server: server}, nil
}

// installed looks through PATH and then through the usual folders, newest
// first. A server in PATH may be a link out of a folder that lacks the other
// programs (Debian's own are like that): the folder it leads to counts too.
func (f Finder) installed(w wanted) (dir, server string) {
	for _, dir := range filepath.SplitList(f.getenv("PATH")) {
		if !filepath.IsAbs(dir) {
			continue
		}
		if server := complete(dir, w.servers, w.tools); server != "" {
			return dir, server
		}
		for _, name := range w.servers {
			target, err := filepath.EvalSymlinks(filepath.Join(dir, name))
			if err != nil {
				continue
			}
			dir := filepath.Dir(target)
			if server := complete(dir, []string{name}, w.tools); server != "" {
				return dir, server
			}
		}
	}
	for _, glob := range w.globs {
		dirs, _ := filepath.Glob(filepath.Join(f.root, glob)) // the patterns are well-formed
		slices.SortFunc(dirs, func(a, b string) int { return cmp.Compare(version(b), version(a)) })
		for _, dir := range dirs {
			if server := complete(dir, w.servers, w.tools); server != "" {
				return dir, server
			}
		}
	}
	return "", ""
}

// complete reports the first of servers that is a program in dir, if every
// tool is one too.
func complete(dir string, servers, tools []string) string {
	for _, tool := range tools {
		if !executable(filepath.Join(dir, tool)) {
			return ""
		}
	}
	for _, server := range servers {
		if executable(filepath.Join(dir, server)) {
			return server
		}
	}
	return ""
}

func executable(file string) bool {
	info, err := os.Stat(file)
	return err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0
}

// version reads the number in a folder such as /usr/lib/postgresql/15/bin, or
// /usr/lib/postgresql/9.6/bin; a folder without one is oldest.
func version(dir string) float64 {
	name := filepath.Base(filepath.Dir(dir))
	v, err := strconv.ParseFloat(name[strings.LastIndexAny(name, "-@")+1:], 64)
	if err != nil {
		return 0
	}
	return v
}

func (f Finder) getenv(name string) string {
	if f.Getenv == nil {
		return ""
	}
	return f.Getenv(name)
}
