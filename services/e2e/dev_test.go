//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/curfew-project/curfew/shared/testkit"
)

// devStopWithin is the promise of dev mode: how long an orderly stop may take.
const devStopWithin = 10 * time.Second

// TestDevMode: an orderly stop takes every credential away and leaves no file.
func TestDevMode(t *testing.T) {
	oneMachine(t, "dev mode is a flag of curfew server")
	t.Parallel()
	s := newDev(t)
	target := newTarget(t, testkit.CreateRoleAdmin)
	c := newBao(t, s)
	if out := s.output(t); !strings.Contains(out, s.url()) || !strings.Contains(out, s.root) {
		t.Errorf("dev mode prints neither address nor token:\n%s", out)
	}
	target.setUp(t, c, "database", "1h", "24h")
	target.setUp(t, c, "other/place", "1h", "24h")
	var users []string
	for range 10 {
		users = append(users, issue(t, c, "database/creds/app").user, issue(t, c, "other/place/creds/app").user)
	}
	session := target.login(t, issue(t, c, "database/creds/app"))
	code, took := s.stop(t)
	want(t, "exit code", code, 0)
	if took > devStopWithin {
		t.Errorf("the stop took %v", took)
	}
	for _, user := range users {
		want(t, "account left by "+user, target.exists(t, user), false)
	}
	if session.Ping(t.Context()) == nil {
		t.Error("a session outlived the server")
	}
	nothingLeft(t, s)
}

// TestDevModeNamesTheRest: what cannot be taken away is named, and no stop
// takes longer for it.
func TestDevModeNamesTheRest(t *testing.T) {
	oneMachine(t, "dev mode is a flag of curfew server")
	t.Parallel()
	s := newDev(t)
	cluster := testkit.Postgres(t)
	target := targetOf(t, cluster, testkit.SuperuserAdmin)
	c := newVault(t, s)
	target.setUp(t, c, "database", "1h", "24h")
	cred := issue(t, c, "database/creds/app")
	cluster.Stop(t, testkit.Immediate)
	_, took := s.stop(t)
	if took > devStopWithin+5*time.Second {
		t.Errorf("the stop took %v", took)
	}
	if out := s.output(t); !strings.Contains(out, cred.lease) || !strings.Contains(out, cred.user) {
		t.Errorf("the rest is not named by lease %s and account %s:\n%s", cred.lease, cred.user, out)
	}
	nothingLeft(t, s)
}

// nothingLeft fails if a server in dev mode left a file behind.
func nothingLeft(tb testing.TB, s *curfew) {
	tb.Helper()
	must(tb, filepath.WalkDir(s.home, func(path string, _ os.DirEntry, err error) error {
		if err == nil && path != s.home {
			tb.Errorf("dev mode left %s", path)
		}
		return err
	}), "look for files")
}
