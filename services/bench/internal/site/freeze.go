package site

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"
)

// Freeze stops the revokers where they are, and returns what lets them go on.
func (s *Site) Freeze() (thaw func() (time.Time, error), err error) {
	var frozen []int
	signal := func(what syscall.Signal) error {
		var errs error
		for _, pid := range frozen {
			if err := syscall.Kill(pid, what); err != nil {
				errs = errors.Join(errs, fmt.Errorf("signal a revoker: %w", err))
			}
		}
		return errs
	}
	for _, p := range s.programs() {
		if !strings.HasPrefix(p.Name(), "revoker-") {
			continue
		}
		if p.Pid() <= 0 { // a signal to 0 would go to this process, too
			return nil, fmt.Errorf("%s does not run", p.Name())
		}
		frozen = append(frozen, p.Pid())
	}
	return func() (time.Time, error) { return s.cfg.Clock.Now(), signal(syscall.SIGCONT) }, signal(syscall.SIGSTOP)
}
