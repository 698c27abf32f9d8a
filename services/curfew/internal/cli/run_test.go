package cli_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/curfew-project/curfew/services/curfew/internal/cli"
)

// program runs the program against a server and returns what came out.
type program struct {
	env            map[string]string
	stdin          io.Reader
	stdout, stderr io.Writer
	wait           func(context.Context, time.Duration) error
}

func (p *program) run(ctx context.Context, args []string, extensions ...cli.Extension) int {
	return cli.Run(ctx, args, cli.IO{
		Stdin: p.stdin, Stdout: p.stdout, Stderr: p.stderr,
		Getenv: func(name string) string { return p.env[name] },
		Now:    func() time.Time { return now },
		Wait:   p.wait,
	}, extensions...)
}

// answer is a server that always gives the same answer.
func answer(t *testing.T, body string) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, body)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// full is an output device without room.
type full struct{}

var errFull = errors.New("no space left on device")

func (full) Write([]byte) (int, error) { return 0, errFull }

// A credential that was issued and did not reach its reader is a failure.
func TestOutputThatCannotBeWrittenFails(t *testing.T) {
	t.Parallel()
	url := answer(t, `{"lease_id":"a/b","lease_duration":60,"data":{"password":"x","keys":["a"]}}`)
	for _, args := range [][]string{
		{"read", "a"},
		{"read", "-format=json", "a"},
		{"read", "-field=password", "a"},
		{"list", "a"},
		{"status"},
	} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			t.Parallel()
			var stderr bytes.Buffer
			p := program{env: map[string]string{"CURFEW_ADDR": url}, stdout: full{}, stderr: &stderr}
			if code := p.run(t.Context(), args); code != 1 {
				t.Errorf("exit code %d, want 1", code)
			}
			if want := "Error writing output: no space left on device\n"; stderr.String() != want {
				t.Errorf("stderr %q, want %q", stderr.String(), want)
			}
		})
	}
}

func TestTailEndsWhereItsOutputEnds(t *testing.T) {
	t.Parallel()
	url := answer(t, "data: {}\n\n")
	var stderr bytes.Buffer
	p := program{env: map[string]string{"CURFEW_ADDR": url}, stdout: full{}, stderr: &stderr}
	if code := p.run(t.Context(), []string{"audit", "tail"}); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
}

// cancelling cancels a context with the first byte written.
type cancelling struct {
	bytes.Buffer
	cancel context.CancelFunc
}

func (w *cancelling) Write(p []byte) (int, error) {
	w.cancel()
	return w.Buffer.Write(p)
}

func TestTailEndsInOrderWhenInterrupted(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "id: 1\ndata: first\n\n")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}))
	t.Cleanup(server.Close)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stdout, stderr := &cancelling{cancel: cancel}, &bytes.Buffer{}
	p := program{env: map[string]string{"CURFEW_ADDR": server.URL}, stdout: stdout, stderr: stderr}
	if code := p.run(ctx, []string{"audit", "tail"}); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	if stdout.String() != "first\n" || stderr.String() != "" {
		t.Errorf("stdout %q, stderr %q", stdout.String(), stderr.String())
	}
}

// The pause between attempts ends with the interrupt too; here through the
// timer that the program brings itself.
func TestTailEndsInOrderWhileItPauses(t *testing.T) {
	t.Parallel()
	url := answer(t, "data: first\n\n")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stderr := &cancelling{cancel: cancel} // the first message says that it pauses
	p := program{env: map[string]string{"CURFEW_ADDR": url}, stdout: io.Discard, stderr: stderr}
	if code := p.run(ctx, []string{"audit", "tail"}); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	if !strings.Contains(stderr.String(), "resuming in 1s") {
		t.Errorf("stderr %q", stderr.String())
	}
}

// Pauses grow while the server is away and start over once it was back.
func TestTailBacksOff(t *testing.T) {
	t.Parallel()
	var requests int
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		requests++
		switch requests {
		case 1, 5:
			_, _ = io.WriteString(w, "data: entry\n\n")
		case 7:
			w.WriteHeader(http.StatusNoContent)
		default:
			w.WriteHeader(http.StatusBadGateway)
		}
	}))
	t.Cleanup(server.Close)
	var pauses []time.Duration
	p := program{
		env: map[string]string{"CURFEW_ADDR": server.URL}, stdout: io.Discard, stderr: io.Discard,
		wait: func(_ context.Context, d time.Duration) error { pauses = append(pauses, d); return nil },
	}
	if code := p.run(t.Context(), []string{"audit", "tail"}); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	if got := fmt.Sprint(pauses); got != "[1s 2s 4s 8s 1s 2s]" {
		t.Errorf("pauses %s", got)
	}
}

// The client library reads VAULT_* of the process by itself; only what the
// program was given may reach the server. Not parallel: it changes the process's
// environment.
func TestSettingsComeFromTheGivenEnvironmentOnly(t *testing.T) {
	t.Setenv("VAULT_TOKEN", "s.process")
	t.Setenv("VAULT_NAMESPACE", "process")
	t.Setenv("VAULT_WRAP_TTL", "60s")
	t.Setenv("VAULT_ADDR", "http://127.0.0.1:1")
	var seen http.Header
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = r.Header
		w.WriteHeader(http.StatusNoContent)
	}))
	t.Cleanup(server.Close)
	p := program{env: map[string]string{"CURFEW_ADDR": server.URL}, stdout: io.Discard, stderr: io.Discard}
	if code := p.run(t.Context(), []string{"delete", "a"}); code != 0 {
		t.Fatalf("exit code %d, want 0", code)
	}
	for _, name := range []string{"X-Vault-Token", "X-Vault-Namespace", "X-Vault-Wrap-Ttl"} {
		if value := seen.Get(name); value != "" {
			t.Errorf("%s: %s came from the process's environment", name, value)
		}
	}
}

func TestExtensionsJoinTheTree(t *testing.T) {
	t.Parallel()
	var stdout, stderr bytes.Buffer
	p := program{stdout: &stdout, stderr: &stderr}
	server := cli.Extension{New: func(streams cli.IO) *cobra.Command {
		cmd := &cobra.Command{Use: "server", RunE: func(cmd *cobra.Command, _ []string) error {
			dev, _ := cmd.Flags().GetBool("dev")
			id, _ := cmd.Flags().GetString("dev-root-token-id")
			_, err := fmt.Fprintf(streams.Stdout, "dev %t, token %s\n", dev, id)
			return err
		}}
		cmd.Flags().Bool("dev", false, "")
		cmd.Flags().String("dev-root-token-id", "", "")
		return cmd
	}}
	verify := cli.Extension{Under: "audit", New: func(cli.IO) *cobra.Command {
		return &cobra.Command{Use: "verify", RunE: func(*cobra.Command, []string) error {
			return &cli.ExitError{Code: 3, Act: "Entry 7 was changed"}
		}}
	}}
	if code := p.run(t.Context(), []string{"server", "-dev", "-dev-root-token-id", "root"}, server, verify); code != 0 {
		t.Errorf("server: exit code %d: %s", code, stderr.String())
	}
	if stdout.String() != "dev true, token root\n" {
		t.Errorf("server: stdout %q", stdout.String())
	}
	if code := p.run(t.Context(), []string{"audit", "verify"}, server, verify); code != 3 || stderr.String() != "Entry 7 was changed\n" {
		t.Errorf("audit verify: exit code %d, stderr %q", code, stderr.String())
	}
	stderr.Reset()
	plain := cli.Extension{New: func(cli.IO) *cobra.Command {
		return &cobra.Command{Use: "plain", RunE: func(*cobra.Command, []string) error { return errFull }}
	}}
	if code := p.run(t.Context(), []string{"plain"}, plain); code != 1 || stderr.String() != errFull.Error()+"\n" {
		t.Errorf("plain: exit code %d, stderr %q", code, stderr.String())
	}
	if code := p.run(t.Context(), []string{"plain"}, cli.Extension{Under: "nosuch", New: plain.New}); code != 1 {
		t.Errorf("unknown group: exit code %d, want 1", code)
	}
}
