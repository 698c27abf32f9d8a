package find

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// How long docker may take to answer, and apt to install: bounds on a hang.
const (
	dockerAnswers = 10 * time.Second
	aptInstalls   = 15 * time.Minute
)

//go:embed install.sh
var installScript string

// docker returns the path of a docker client whose daemon answers and can
// share a folder with us.
func (f Finder) docker(ctx context.Context) (string, error) {
	client := f.lookPath("docker")
	if client == "" {
		return "", errors.New("no docker in PATH")
	}
	ctx, cancel := context.WithTimeout(ctx, dockerAnswers)
	defer cancel()
	cmd := exec.CommandContext(ctx, client, "info", "--format", "{{.ServerVersion}} {{.SecurityOptions}}")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("daemon does not answer: %w: %s", err, firstLine(stderr.String()))
	}
	// A rootless daemon maps user ids, and the server could not read the
	// folder that we give it.
	if strings.Contains(string(out), "rootless") {
		return "", errors.New("daemon is rootless and cannot share a data folder")
	}
	return client, nil
}

// apt installs the package without leaving a service behind.
func (f Finder) apt(ctx context.Context, w wanted) error {
	if !f.Install {
		return fmt.Errorf("not allowed here; `make servers` installs %s", w.pkg)
	}
	if f.lookPath("apt-get") == "" {
		return errors.New("no apt-get in PATH; install " + w.name + " yourself")
	}
	argv := []string{"/bin/sh", "-eu", "-c", installScript, "install", w.pkg, w.service}
	if os.Geteuid() != 0 {
		sudo := f.lookPath("sudo")
		if sudo == "" {
			return errors.New("not root, and no sudo in PATH; run: apt-get install " + w.pkg)
		}
		argv = append([]string{sudo, "-n"}, argv...)
	}
	ctx, cancel := context.WithTimeout(ctx, aptInstalls)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	log := f.Log
	if log == nil {
		log = io.Discard
	}
	var tail bytes.Buffer
	cmd.Stdout = log
	cmd.Stderr = io.MultiWriter(log, &tail)
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("install %s: %w: %s", w.pkg, err, lastLine(tail.String()))
	}
	return nil
}

// lookPath is exec.LookPath over the Finder's own environment.
func (f Finder) lookPath(name string) string {
	for _, dir := range filepath.SplitList(f.getenv("PATH")) {
		if file := filepath.Join(dir, name); filepath.IsAbs(dir) && executable(file) {
			return file
		}
	}
	return ""
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}

func lastLine(s string) string {
	s = strings.TrimSpace(s)
	return s[strings.LastIndexByte(s, '\n')+1:]
}
