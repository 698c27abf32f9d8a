//go:build e2e && unix && !linux

package e2e

import "syscall"

// withUs keeps our ^C from a child.
func withUs() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
