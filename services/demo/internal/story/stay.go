package story

import (
	"fmt"
	"io"

	"github.com/curfew-project/curfew/services/demo/internal/stage"
)

// Stay tells how to use what stays running, and how to stop it: pid is the
// process that waits.
func Stay(s *stage.Stage, pid int, out io.Writer) {
	t := &teller{out: out}
	t.say("", "Everything stays running (KEEP=1), at "+s.Server.URL, "", "In another terminal, with the vault, bao or curfew command:", "")
	t.quote(fmt.Sprintf("export VAULT_ADDR=%s VAULT_TOKEN=$(cat %s)\nvault read %s", s.Server.URL, s.Server.TokenFile(), creds))
	t.say("", fmt.Sprintf("The target is %s, database %s.", s.Target.Address(), stage.Database))
	t.say("", fmt.Sprintf("Stop: ^C here, or: kill %d. Then everything is removed.", pid))
}
