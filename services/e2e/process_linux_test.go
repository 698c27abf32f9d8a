//go:build e2e

package e2e

import "syscall"

// withUs makes a child end with us, and keeps our ^C from it.
func withUs() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
