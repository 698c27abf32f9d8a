package find

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// programs makes empty programs in a folder.
func programs(t *testing.T, dir string, names ...string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		script(t, dir, name, "exit 1")
	}
}

func script(t *testing.T, dir, name, body string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+body+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
}

func env(values map[string]string) func(string) string {
	return func(name string) string { return values[name] }
}

var all = []string{"postgres", "initdb", "pg_basebackup"}

// The first way that works is taken: each case has all the later ones, too.
func TestPostgresOrder(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	named, path, docker := filepath.Join(root, "named"), filepath.Join(root, "path"), filepath.Join(root, "docker")
	programs(t, named, all...)
	programs(t, path, all...)
	programs(t, docker)
	script(t, docker, "docker", "echo 27.0 '[name=seccomp]'")
	debian := func(version string) string { return filepath.Join(root, "usr/lib/postgresql", version, "bin") }
	for _, version := range []string{"9.6", "15", "18"} {
		programs(t, debian(version), all...)
	}
	programs(t, debian("19"), "initdb") // incomplete
	bare := t.TempDir()

	for name, test := range map[string]struct {
		env  map[string]string
		root string
		want Programs
	}{
		"named":         {map[string]string{"CURFEW_PG_BIN": named, "PATH": path}, root, Programs{Source: Named, Dir: named, Server: "postgres"}},
		"in PATH":       {map[string]string{"PATH": docker + ":" + path}, root, Programs{Source: Installed, Dir: path, Server: "postgres"}},
		"newest folder": {map[string]string{"PATH": docker}, root, Programs{Source: Installed, Dir: debian("18"), Server: "postgres"}},
		"docker": {
			map[string]string{"PATH": docker},
			bare,
			Programs{Source: Docker, Docker: filepath.Join(docker, "docker"), Image: "postgres:17", Server: "postgres"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := Finder{Getenv: env(test.env), root: test.root}.Postgres(t.Context())
			if err != nil || got != test.want {
				t.Errorf("found %+v, %v, want %+v", got, err, test.want)
			}
		})
	}
}

// Debian's way: postgres in PATH is a link out of a folder with little else.
func TestPostgresBehindALink(t *testing.T) {
	t.Parallel()
	dir, links := resolved(t), resolved(t)
	programs(t, dir, all...)
	if err := os.Symlink(filepath.Join(dir, "postgres"), filepath.Join(links, "postgres")); err != nil {
		t.Fatal(err)
	}
	got, err := Finder{Getenv: env(map[string]string{"PATH": links}), root: links}.Postgres(t.Context())
	if err != nil || got.Dir != dir {
		t.Errorf("found %+v, %v, want folder %s", got, err, dir)
	}
}

// resolved is a temporary folder by its true name (macOS links to its own).
func resolved(t *testing.T) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestRedisByFolderOrFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	programs(t, dir, "valkey-server", "redis-server-7")
	for value, want := range map[string]string{dir: "valkey-server", filepath.Join(dir, "redis-server-7"): "redis-server-7"} {
		got, err := Finder{Getenv: env(map[string]string{"CURFEW_REDIS_BIN": value})}.Redis(t.Context())
		if err != nil || got != (Programs{Source: Named, Dir: dir, Server: want}) {
			t.Errorf("CURFEW_REDIS_BIN=%s: %+v, %v", value, got, err)
		}
	}
}

// Whatever is missing, the error has one line for each way.
func TestNotFoundNamesEveryWay(t *testing.T) {
	t.Parallel()
	bare := t.TempDir()
	for name, test := range map[string]struct {
		env     map[string]string
		docker  string
		install bool
		want    []string
	}{
		"nothing at all": {nil, "", false, []string{
			"CURFEW_PG_BIN: not set", "installed: no postgres, initdb, pg_basebackup in PATH or ", "docker: no docker in PATH", "apt: not allowed here",
		}},
		"a wrong variable is not passed over": {map[string]string{"CURFEW_PG_BIN": "/nowhere"}, "", false, []string{
			"CURFEW_PG_BIN=/nowhere: holds no postgres, initdb, pg_basebackup", "installed: not looked for", "docker: not tried", "apt: not tried",
		}},
		"no daemon": {nil, "echo Cannot connect to the daemon >&2; exit 1", false, []string{
			"CURFEW_PG_BIN: not set", "installed: no ", "docker: daemon does not answer: exit status 1: Cannot connect to the daemon", "apt: not allowed",
		}},
		"rootless daemon": {nil, "echo 27.0 '[name=rootless]'", false, []string{
			"CURFEW_PG_BIN: not set", "installed: no ", "docker: daemon is rootless", "apt: not allowed",
		}},
		"no apt": {nil, "", true, []string{
			"CURFEW_PG_BIN: not set", "installed: no ", "docker: no docker in PATH", "apt: no apt-get in PATH",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if test.docker != "" {
				script(t, dir, "docker", test.docker)
			}
			values := map[string]string{"PATH": dir}
			for name, value := range test.env {
				values[name] = value
			}
			_, err := Finder{Getenv: env(values), Install: test.install, root: bare}.Postgres(context.Background())
			var missing *NotFoundError
			if !errors.As(err, &missing) || len(missing.Ways) != len(test.want) {
				t.Fatalf("%v, want %d ways", err, len(test.want))
			}
			for i, want := range test.want {
				if !strings.HasPrefix(missing.Ways[i], want) {
					t.Errorf("way %d: %q, want %q", i, missing.Ways[i], want)
				}
			}
			if lines := strings.Count(err.Error(), "\n"); lines != len(test.want) {
				t.Errorf("%d lines after the first, want %d: %v", lines, len(test.want), err)
			}
		})
	}
}
