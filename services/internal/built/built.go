// Package built builds the programs for the tests that drive them.
package built

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
)

const module = "github.com/curfew-project/curfew/services/"

// Programs builds the programs of these folders of services/ into a folder, under
// the names that `make build` gives them. It is made if it is not there. raced
// builds them with the race detector.
func Programs(ctx context.Context, dir string, raced bool, folders ...string) error {
	return With(ctx, dir, raced, nil, folders...)
}

// With is [Programs] with further flags of `go build`.
func With(ctx context.Context, dir string, raced bool, flags []string, folders ...string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("build the programs: %w", err)
	}
	args := []string{"build", "-buildvcs=false", "-o", dir} // the checkout may be another user's
	if raced {
		args = append(args, "-race")
	}
	args = append(args, flags...)
	for _, folder := range folders {
		args = append(args, module+folder)
	}
	if out, err := exec.CommandContext(ctx, "go", args...).CombinedOutput(); err != nil { //nolint:gosec // the folders are the caller's own words
		return fmt.Errorf("build the programs: %w\n%s", err, out)
	}
	for _, folder := range folders {
		if name := path.Base(folder); slices.Contains(Roles(), name) {
			if err := os.Rename(filepath.Join(dir, name), filepath.Join(dir, "curfew-"+name)); err != nil {
				return fmt.Errorf("build the programs: %w", err)
			}
		}
	}
	return nil
}

// Roles are the folders of the programs of the distributed form, which are named
// after the product.
func Roles() []string { return []string{"issuer", "revoker", "auditor"} }

// Distributed are the folders of all programs that the distributed form takes on
// one machine.
func Distributed() []string { return append(Roles(), "local") }
