//go:build unix && !linux

package child

import (
	"os/exec"
	"syscall"
)

// attach keeps the terminal's ^C from the child: we stop it in good order
// ourselves. Outside Linux there is no signal that follows our own death.
func attach(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
}
