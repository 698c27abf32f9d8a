package stage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/curfew-project/curfew/services/internal/child"
	"github.com/curfew-project/curfew/shared/secret"
	"github.com/curfew-project/curfew/shared/testkit/server"
)

// ErrStranger is the error where what answers at the address is not the server
// that was started.
var ErrStranger = errors.New("another server answers at the address; it is left alone")

const (
	startHangs = time.Minute // longer is a hang
	stopHangs  = time.Minute
	poll       = 20 * time.Millisecond
	answerTime = 10 * time.Second // of one HTTP request
)

// KeyFile is in Stage.Dir: the ledger's public key as it was at the start.
const KeyFile = "ledger.pub"

// Server is the Curfew that was started.
type Server struct {
	URL   string
	Data  string // data_dir
	Token secret.Value
	// Of `curfew server`.
	Pid    int
	Config string // file
	// Parts are what runs in the distributed form, by name; nil where it is not.
	Parts []string
}

// TokenFile holds the root token.
func (s Server) TokenFile() string { return filepath.Join(s.Data, "root-token") }

func (s *Stage) openServer(ctx context.Context) error {
	var err error
	if s.port, err = server.TakePort(); err != nil {
		return err
	}
	s.Server = Server{
		URL:  "http://" + s.port.Address(),
		Data: filepath.Join(s.Dir, "data"), Config: filepath.Join(s.Dir, "curfew.hcl"),
	}
	text := fmt.Sprintf("data_dir = %q\nlistener \"tcp\" { address = %q tls_disable = true }\n", s.Server.Data, s.port.Address())
	if s.cfg.Paused {
		text += "expiry { paused = true }\n"
	}
	if err := os.WriteFile(s.Server.Config, []byte(text), 0o600); err != nil {
		return fmt.Errorf("write the configuration: %w", err)
	}
	log, err := os.OpenFile(s.log(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("open the server's log: %w", err)
	}
	cmd := exec.Command(s.cfg.Curfew, "server", "-config="+s.Server.Config) //nolint:gosec,noctx // the program is ours, and ends in good order: child.Child.Stop
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = s.environ, s.Dir, log, log
	s.process, err = child.Start(cmd)
	if err = errors.Join(err, log.Close()); err != nil { // the child has its own
		return fmt.Errorf("start curfew server: %w", err)
	}
	s.Server.Pid = cmd.Process.Pid
	ctx, cancel := context.WithTimeout(ctx, startHangs)
	defer cancel()
	if err := s.await(ctx); err != nil {
		return fmt.Errorf("start curfew server: %w; its log ends:\n%s", err, s.LogTail())
	}
	return s.keepKey(ctx)
}

// await returns when our own child serves at the address.
func (s *Stage) await(ctx context.Context) error {
	for {
		ok, err := s.serves(ctx)
		if ok || err != nil {
			return err
		}
		tick, stop := s.cfg.Clock.Timer(poll)
		select {
		case <-tick:
		case <-s.process.Ended():
			stop()
			return errors.New("it ended by itself")
		case <-ctx.Done():
			stop()
			return ctx.Err()
		}
	}
}

func (s *Stage) serves(ctx context.Context) (bool, error) {
	// Only who has the address can have written this.
	said, err := os.ReadFile(s.log())
	if err != nil || !strings.Contains(string(said), s.Server.URL) {
		return false, err
	}
	status, _, err := s.get(ctx, "/v1/sys/health")
	if err != nil || status != http.StatusOK {
		return false, nil //nolint:nilerr // not yet; a hang ends with ctx
	}
	text, err := os.ReadFile(s.Server.TokenFile())
	if err != nil {
		return false, fmt.Errorf("read the root token: %w", err)
	}
	s.Server.Token = secret.New(strings.TrimSpace(string(text)))
	return true, s.Check(ctx)
}

// Check makes sure that the address is answered by the server that was started:
// it lives, and knows our token.
func (s *Stage) Check(ctx context.Context) error {
	status, _, err := s.get(ctx, "/v1/auth/token/lookup-self")
	if err != nil {
		return err
	}
	if status != http.StatusOK || s.process != nil && !s.process.Running() {
		return fmt.Errorf("%w: %s (HTTP status %d)", ErrStranger, s.Server.URL, status)
	}
	return nil
}

// keepKey stores the public key of the ledger where a forger of the ledger
// would not look for it.
func (s *Stage) keepKey(ctx context.Context) error {
	status, key, err := s.get(ctx, "/v1/audit/key")
	if err != nil {
		return err
	}
	if status != http.StatusOK {
		return fmt.Errorf("get the ledger's public key: HTTP status %d", status)
	}
	if err := os.WriteFile(filepath.Join(s.Dir, KeyFile), key, 0o600); err != nil {
		return fmt.Errorf("keep the ledger's public key: %w", err)
	}
	return nil
}

func (s *Stage) get(ctx context.Context, path string) (status int, body []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.Server.URL+path, nil)
	if err != nil {
		return 0, nil, fmt.Errorf("ask the server: %w", err)
	}
	if !s.Server.Token.Empty() {
		req.Header.Set("X-Vault-Token", s.Server.Token.Reveal())
	}
	transport := &http.Transport{DisableKeepAlives: true} // and no proxy
	res, err := transport.RoundTrip(req)
	if err != nil {
		return 0, nil, fmt.Errorf("ask the server: %w", err)
	}
	body, err = io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err = errors.Join(err, res.Body.Close()); err != nil {
		return 0, nil, fmt.Errorf("ask the server: %w", err)
	}
	return res.StatusCode, body, nil
}

func (s *Stage) log() string { return filepath.Join(s.Dir, "server.log") }

// LogTail is the end of the server's log, or of all logs, for an error that a
// person reads.
func (s *Stage) LogTail() string {
	if s.topology != nil {
		return s.topology.LogTails()
	}
	text, err := os.ReadFile(s.log())
	if err != nil {
		return err.Error()
	}
	const most = 15
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-most):], "\n")
}
