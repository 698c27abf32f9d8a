package instrument

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
)

// The clock of every program is one call of the machine's (package clock), which
// goes through wrongclock in what Build builds.
const (
	clockAlias = "curfewwrongclock"
	clockEntry = `; import ` + clockAlias + ` "` + root + `shared/testkit/wrongclock"`
	rightClock = "return time.Now()"
)

// wrongClock is the file that reads the machine's clock, with one that can be
// wrong. No line changes its number.
func wrongClock(text []byte) ([]byte, error) {
	if n := bytes.Count(text, []byte(rightClock)); n != 1 {
		return nil, fmt.Errorf("the machine's clock is read %d times, want once", n)
	}
	text = bytes.Replace(text, []byte(rightClock), []byte("return "+clockAlias+".Now(time.Now)"), 1)
	return importing(text, clockEntry)
}

// source is the folder of a package.
func source(ctx context.Context, pkg string) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-f={{.Dir}}", pkg).Output() //nolint:gosec // the package is ours
	if err != nil {
		var complaint *exec.ExitError
		if errors.As(err, &complaint) {
			err = fmt.Errorf("%w\n%s", err, complaint.Stderr)
		}
		return "", fmt.Errorf("find package %s: %w", pkg, err)
	}
	return strings.TrimSpace(string(out)), nil
}
