//go:build e2e

package fault

import (
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/curfew-project/curfew/services/internal/faults"
	"github.com/curfew-project/curfew/shared/fsck"
)

// fsck runs `curfew fsck` against the processes that run, as an operator does,
// until all agree or the time is over.
func (w *world) fsck(t *testing.T, until time.Time, f *finding) {
	t.Helper()
	wait := max(time.Until(until), 2*time.Second).Round(time.Second)
	cmd := exec.CommandContext(t.Context(), filepath.Join(w.form.programs(), "curfew"), "fsck", "-format=json", "-interval=500ms", "-wait="+wait.String())
	cmd.Env = append(w.form.environ(), "VAULT_ADDR="+w.form.url(), "VAULT_TOKEN="+w.root)
	var complaint strings.Builder
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err == nil {
		return
	}
	var exit *exec.ExitError
	var report fsck.Report
	if !errors.As(err, &exit) || json.Unmarshal(out, &report) != nil || len(report.Disagreements) == 0 {
		f.add(faults.Harm{Lost: 1}, fmt.Sprintf("fsck: %v\n%s%s", err, out, complaint.String()))
		return
	}
	for _, d := range report.Disagreements {
		h, other := map[fsck.Kind]faults.Harm{
			fsck.StrayAccount: {Strays: 1}, fsck.LateAccount: {Strays: 1}, fsck.LedgerIllegal: {Doubled: 1},
		}[d.Kind]
		if !other {
			h = faults.Harm{Lost: 1} // something that should be there is not
		}
		f.add(h, fmt.Sprintf("fsck: %s %s %s: %s", d.Kind, d.Lease, d.Account, d.Seen))
	}
}
