//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/curfew-project/curfew/shared/fsck"
)

// fsck runs `curfew fsck` and returns what it says, and its exit code.
func (c *curfew) fsck(tb testing.TB, args ...string) (r fsck.Report, code int) {
	tb.Helper()
	out, code := c.run(tb, append([]string{"fsck", "-format=json"}, args...)...)
	from := strings.IndexByte(out, '{')
	if from < 0 {
		tb.Fatalf("fsck ended with %d and says:\n%s", code, out)
	}
	must(tb, json.Unmarshal([]byte(out[from:]), &r), "decode what fsck says: "+out)
	if got := r.Code(); got != code {
		tb.Errorf("fsck ended with %d, and its report is worth %d:\n%s", code, got, out)
	}
	return r, code
}

// fsckClean waits until accounts, leases, index, events, stream and ledger agree
// and fails with what does not.
func fsckClean(tb testing.TB, c *curfew, within time.Duration) {
	tb.Helper()
	began := time.Now()
	r, _ := c.fsck(tb, "-wait="+within.String())
	if !r.Clean {
		tb.Fatalf("fsck is not clean within %v:\n%s", within, told(&r))
	}
	tb.Logf("fsck is clean after %v and %d looks: %d leases, %d accounts, %d entries",
		time.Since(began).Round(10*time.Millisecond), r.Looks, r.Counts.Leases, r.Counts.Accounts, r.Counts.Entries)
}

// told is a report for a log.
func told(r *fsck.Report) string {
	var lines []string
	for _, f := range r.Disagreements {
		lines = append(lines, fmt.Sprintf("%s %s %s %s: %s (%s)", f.Kind, f.Target, f.Account, f.Lease, f.Seen, f.Heals))
	}
	for _, g := range r.Unseen {
		lines = append(lines, fmt.Sprintf("not looked at: %s %s: %s", g.Part, g.What, g.Why))
	}
	return strings.Join(lines, "\n")
}
