package server

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strconv"
	"syscall"
)

// attach makes the child end with us, and keeps our ^C from it: we stop it in
// good order ourselves.
func attach(cmd *exec.Cmd, onOurDeath syscall.Signal) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
	cmd.SysProcAttr.Pdeathsig = onOurDeath
}

// children lists the processes whose parent is pid.
func children(pid int) ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var pids []int
	for _, entry := range entries {
		child, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		if _, parent, err := stat(child); err == nil && parent == pid {
			pids = append(pids, child)
		}
	}
	return pids, nil
}

// Alive reports whether a process exists and runs. One that has ended and was
// not yet waited for by its parent does not.
func Alive(pid int) bool {
	state, _, err := stat(pid)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		return false
	}
	return err != nil || (state != 'Z' && state != 'X')
}

// stat reads a process's state and parent; see proc(5), /proc/pid/stat.
func stat(pid int) (state byte, parent int, err error) {
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0, err
	}
	// The name, in parentheses, may itself hold parentheses and blanks.
	fields := bytes.Fields(line[bytes.LastIndexByte(line, ')')+1:])
	if len(fields) < 2 {
		return 0, 0, fmt.Errorf("read the state of process %d: %q", pid, line)
	}
	parent, err = strconv.Atoi(string(fields[1]))
	return fields[0][0], parent, err
}
