package child

import (
	"os/exec"
	"syscall"
)

// attach makes the child end with us, and keeps the terminal's ^C from it: we
// stop it in good order ourselves.
func attach(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
