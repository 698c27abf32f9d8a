package stage

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/curfew-project/curfew/services/internal/child"
)

// Answer is what a command wrote.
type Answer struct{ Stdout, Stderr string }

// Client runs the curfew program as a client of the server, in Stage.Dir. The
// error has what it wrote to standard error.
func (s *Stage) Client(ctx context.Context, args ...string) (Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.CommandTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, s.cfg.Curfew, args...) //nolint:gosec // the program is ours
	cmd.Dir = s.Dir
	cmd.Env = append(append([]string{}, s.environ...),
		"CURFEW_ADDR="+s.Server.URL, "CURFEW_TOKEN="+s.Server.Token.Reveal(), "CURFEW_CLIENT_TIMEOUT="+s.cfg.CommandTime.String())
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 5 * time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := child.Run(cmd)
	answer := Answer{stdout.String(), stderr.String()}
	if err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("%w: no end within %s", err, s.cfg.CommandTime)
		}
		return answer, fmt.Errorf("curfew %s: %w\n%s", args[0], err, strings.TrimSpace(answer.Stderr))
	}
	return answer, nil
}
