//go:build e2e

package e2e

import (
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// sweeping is a configuration whose stray sweep comes round often.
const sweeping = `expiry { stray_sweep = "500ms" }`

// installation is what sys/installation says.
type installation struct {
	ID         string
	Suspended  bool
	Sweeping   string
	Doubts     []string
	Contested  []struct{ Target, Mount, Connection, Found string }
	Strays     []struct{ Accounts []string }
	Recoveries []recovery
}

// recovery is the report of one.
type recovery struct {
	Epoch                        int64
	Returned, Prolonged, Revoked int
	Lost                         []struct{ What, ID, Detail string }
}

// installation reads sys/installation.
func (c *curfew) installation(tb testing.TB) installation {
	tb.Helper()
	var i installation
	c.data(tb, "/v1/sys/installation", &i)
	return i
}

// reported are all accounts that were found and left alone.
func (i installation) reported() (all []string) {
	for _, s := range i.Strays {
		all = append(all, s.Accounts...)
	}
	return all
}

// confirm is the operator's word, as the program's own command gives it.
func (c *curfew) confirm(tb testing.TB) {
	tb.Helper()
	if out, code := c.run(tb, "operator", "confirm"); code != 0 {
		tb.Fatalf("operator confirm ended with %d:\n%s", code, out)
	}
	if i := c.installation(tb); i.Sweeping != "acting" || len(i.Contested) > 0 {
		tb.Errorf("after the confirmation: %+v", i)
	}
}

// doubts fails unless a server says that it only reports strays: everywhere,
// where it can know by its place that it is a copy; else in the target, whose
// mark tells it.
func (c *curfew) doubts(tb testing.TB) {
	tb.Helper()
	i := c.installation(tb)
	everywhere, here := i.Sweeping == "reporting" && len(i.Doubts) > 0, len(i.Contested) > 0
	if distributed() && !here || !distributed() && !everywhere {
		tb.Errorf("a copy says of itself: %+v", i)
	}
}

// copyTree copies as an operator does: with owners, modes and times.
func copyTree(tb testing.TB, from, to string) {
	tb.Helper()
	if out, err := exec.CommandContext(tb.Context(), "cp", "-a", from, to).CombinedOutput(); err != nil {
		tb.Fatalf("copy %s: %v\n%s", from, err, out)
	}
}

// putBack replaces a directory by a copy of an earlier one, or of another. Its
// configurations stay: they name its own addresses and paths.
func putBack(tb testing.TB, older, dir string) {
	tb.Helper()
	kept := map[string][]byte{}
	files, err := filepath.Glob(filepath.Join(dir, "*.hcl"))
	must(tb, err, "look for configurations")
	for _, file := range files {
		kept[file], err = os.ReadFile(file)
		must(tb, err, "read a configuration")
	}
	must(tb, os.RemoveAll(dir), "remove "+dir)
	copyTree(tb, older, dir)
	for file, text := range kept {
		must(tb, os.WriteFile(file, text, 0o600), "write a configuration")
	}
}

// copied ends the server in order and copies directories of its data.
func (c *curfew) copied(tb testing.TB, dirs []string) (copies []string) {
	tb.Helper()
	if code, _ := c.stop(tb); code != 0 {
		tb.Fatalf("the server ended with %d:\n%s", code, c.output(tb))
	}
	to := tb.TempDir()
	for i, dir := range dirs {
		copies = append(copies, filepath.Join(to, strconv.Itoa(i)))
		copyTree(tb, dir, copies[i])
	}
	return copies
}

// saved ends the server in order and copies everything that it keeps.
func (c *curfew) saved(tb testing.TB) (copies []string) {
	tb.Helper()
	return c.copied(tb, c.folders())
}

// restored puts what was saved, of this server or of another, in place of
// everything that it keeps. It does not run.
func (c *curfew) restored(tb testing.TB, copies []string) {
	tb.Helper()
	for i, folder := range c.folders() {
		putBack(tb, copies[i], folder)
	}
}

// stray makes an account that bears the mark and that no lease stands for: one
// that was taken away, made again past the server.
func (t *target) stray(tb testing.TB, c client) string {
	tb.Helper()
	cred := issue(tb, c, "database/creds/app")
	must(tb, c.revoke(cred.lease, true), "revoke")
	t.Exec(tb, t.database, fmt.Sprintf(`CREATE ROLE %q`, cred.user))
	return cred.user
}

// reports waits until a server says of accounts that no lease stands for them,
// and that it left them alone.
func (c *curfew) reports(tb testing.TB, users ...string) {
	tb.Helper()
	eventually(tb, hang, func() error { return c.unreported(tb, users...) })
}

// unreported is an error about the first account that is not reported.
func (c *curfew) unreported(tb testing.TB, users ...string) error {
	tb.Helper()
	i := c.installation(tb)
	for _, user := range users {
		if !slices.Contains(i.reported(), user) {
			return fmt.Errorf("account %s is not reported: %+v", user, i)
		}
	}
	return nil
}

// onlyReports fails unless stray sweeps come round, several times, and leave
// what they find alone.
func (t *target) onlyReports(tb testing.TB, s *curfew, c client) {
	tb.Helper()
	var strays []string
	for range 3 { // each is seen by a later round
		user := t.stray(tb, c)
		strays = append(strays, user)
		eventually(tb, hang, func() error {
			// Until it was seen, a second worker on the revocation that made room for
			// it may still take it away: names are never used twice but here (C7).
			if !t.exists(tb, user) {
				t.Exec(tb, t.database, fmt.Sprintf(`CREATE ROLE %q`, user))
			}
			return s.unreported(tb, strays...)
		})
	}
	for _, user := range strays {
		want(tb, "account "+user+" is there", t.exists(tb, user), true)
	}
}

// epochs fails unless the numbers of the record run from 1 without a gap within
// each epoch, and epochs follow each other (D3, A7). It returns the last epoch.
func epochs(tb testing.TB, s *curfew) int64 {
	tb.Helper()
	var last entry
	for _, e := range s.entries(tb, url.Values{}) {
		if e.Epoch < last.Epoch || e.Epoch == last.Epoch && e.Number != last.Number+1 || e.Epoch > last.Epoch && e.Number != 1 {
			tb.Fatalf("entry %d-%d of the record follows %d-%d", e.Epoch, e.Number, last.Epoch, last.Number)
		}
		last = e
	}
	return last.Epoch
}

// rising fails unless the versions of a lease rise: also over a recovery, so
// that who ignores lower ones takes notice (D3, A7).
func rising(tb testing.TB, s *curfew, lease string) {
	tb.Helper()
	var before entry
	for _, e := range s.entries(tb, url.Values{"lease": {lease}}) {
		if e.Version <= before.Version {
			tb.Errorf("%s: %s has version %d after %s with %d", lease, e.Type, e.Version, before.Type, before.Version)
		}
		before = e
	}
}

// lost reports whether a recovery names a loss.
func (r *recovery) lost(what, part string) bool {
	return slices.ContainsFunc(r.Lost, func(l struct{ What, ID, Detail string }) bool {
		return l.What == what && strings.Contains(l.ID+" "+l.Detail, part)
	})
}
