package main

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"

	"github.com/curfew-project/curfew/services/internal/config"
)

const root = "../.."

// project is docker-compose.yml as the compose library reads it, which is strict
// about keys. The passwords that a script makes are put where it puts them, in a
// copy.
func project(t *testing.T) *types.Project {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "deploy"), os.DirFS(filepath.Join(root, "deploy"))); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, "docker-compose.yml"))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "docker-compose.yml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	options, err := cli.NewProjectOptions([]string{file}, cli.WithName("curfew"), cli.WithWorkingDirectory(dir))
	if err != nil {
		t.Fatal(err)
	}
	p, err := options.LoadProject(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestComposeFile(t *testing.T) {
	t.Parallel()
	p := project(t)
	want := []string{
		"auditor-1", "auditor-2", "issuer-1", "issuer-2", "nats-1", "nats-2", "nats-3", "proxy",
		"redis", "redis-replica", "revoker-1", "revoker-2", "seal", "store",
	}
	if got := p.ServiceNames(); !slices.Equal(got, want) {
		t.Errorf("services are %v, want %v", got, want)
	}
	for name, c := range p.Configs {
		if _, err := os.Stat(c.File); err != nil {
			t.Errorf("config %s: %v", name, err)
		}
	}
	made, err := os.ReadFile(filepath.Join(root, "deploy/compose/secrets.sh"))
	if err != nil {
		t.Fatal(err)
	}
	for name := range p.Secrets {
		if !strings.Contains(string(made), name) {
			t.Errorf("nothing makes the secret %s", name)
		}
	}
	for _, s := range p.Services {
		_, tag, pinned := strings.Cut(s.Image, ":")
		if !pinned || tag == "latest" {
			t.Errorf("%s: image %q names no version", s.Name, s.Image)
		}
		for _, port := range s.Ports {
			if port.HostIP != "127.0.0.1" {
				t.Errorf("%s: port %s is published to everybody", s.Name, port.Published)
			}
		}
		for _, secret := range s.Secrets {
			if _, ok := p.Secrets[secret.Source]; !ok {
				t.Errorf("%s: there is no secret %s", s.Name, secret.Source)
			}
		}
	}
}

// The configuration in the compose file is one that the programs take, and names
// servers that are there.
func TestComposeConfiguration(t *testing.T) {
	t.Parallel()
	p := project(t)
	for kind, program := range map[string]config.Program{"issuer": config.Issuer, "revoker": config.Revoker, "auditor": config.Auditor} {
		s, err := p.GetService(kind + "-1")
		if err != nil {
			t.Fatal(err)
		}
		if len(s.Entrypoint) != 2 || filepath.Base(s.Entrypoint[0]) != string(program) {
			t.Errorf("%s runs %v", kind, s.Entrypoint)
		}
		c := config.Default()
		if err := c.Read(p.Configs["curfew"].File); err != nil {
			t.Fatal(err)
		}
		lookup := func(key string) (string, bool) {
			v := s.Environment[key]
			if v == nil {
				return "", false
			}
			return *v, true
		}
		if err := c.Environ(lookup); err != nil {
			t.Fatal(err)
		}
		if err := c.Finish(program); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
		if c.Name != kind+"-1" {
			t.Errorf("%s is named %q", kind, c.Name)
		}
		for _, url := range slices.Concat(c.NATS.Servers, c.Redis.Addresses, c.Audit.URLs, []string{c.Store.URL[strings.Index(c.Store.URL, "@")+1:]}) {
			host, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(url, "nats://"), "http://"), ":")
			if _, err := p.GetService(host); err != nil {
				t.Errorf("the configuration names %s, which is no service", host)
			}
		}
		for _, path := range []string{c.Store.PasswordFile, c.NATS.PasswordFile, c.Redis.PasswordFile} {
			if !slices.ContainsFunc(s.Secrets, func(x types.ServiceSecretConfig) bool { return "/run/secrets/"+x.Source == path }) {
				t.Errorf("%s: nothing puts a secret at %s", kind, path)
			}
		}
		for _, path := range []string{filepath.Dir(c.KeyFile)} {
			if !slices.ContainsFunc(s.Volumes, func(v types.ServiceVolumeConfig) bool { return v.Target == path }) {
				t.Errorf("%s: nothing is mounted at %s", kind, path)
			}
		}
	}
}

// The image has every program that the compose file runs.
func TestImage(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(root, "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range project(t).Services {
		if len(s.Entrypoint) > 0 && strings.HasPrefix(s.Entrypoint[0], "/usr/local/bin/curfew") &&
			!strings.Contains(string(text), "/src/bin/"+filepath.Base(s.Entrypoint[0])+" ") {
			t.Errorf("the image lacks %s", s.Entrypoint[0])
		}
	}
}
