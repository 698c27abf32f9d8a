//go:build integration

package stage

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"testing"

	"github.com/curfew-project/curfew/services/internal/child"
	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/secret"
)

// alive is a child that does nothing for as long as the test lasts.
func alive(t *testing.T) *child.Child {
	t.Helper()
	c, err := child.Start(exec.Command("sleep", "600"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Stop(context.Background(), stopHangs); err != nil {
			t.Error(err)
		}
	})
	return c
}

// strangers answers each path with a status, 200 where none is named.
func strangers(t *testing.T, statuses map[string]int) string {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if status, ok := statuses[r.URL.Path]; ok {
			w.WriteHeader(status)
		}
	}))
	t.Cleanup(srv.Close)
	return srv.URL
}

func at(t *testing.T, url string, process *child.Child) *Stage {
	t.Helper()
	dir := t.TempDir()
	s := &Stage{
		Dir: dir, cfg: Config{Clock: clock.System{}}, process: process,
		Server: Server{URL: url, Data: dir, Token: secret.New("ours")},
	}
	for file, text := range map[string]string{s.Server.TokenFile(): "ours\n", s.log(): ""} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// Who answers at the address before our child says that it listens there is
// somebody else, however well it answers.
func TestHealthAloneIsNotOurServer(t *testing.T) {
	t.Parallel()
	s := at(t, strangers(t, nil), alive(t))
	ok, err := s.serves(t.Context())
	if ok || err != nil {
		t.Errorf("a stranger was taken for the server: %t, %v", ok, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.await(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("waiting ended with %v", err)
	}
}

func TestStrangerIsRefused(t *testing.T) {
	t.Parallel()
	t.Run("it does not know our token", func(t *testing.T) {
		t.Parallel()
		s := at(t, strangers(t, map[string]int{"/v1/auth/token/lookup-self": http.StatusForbidden}), alive(t))
		if err := os.WriteFile(s.log(), []byte("serves the API at "+s.Server.URL+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if ok, err := s.serves(t.Context()); !errors.Is(err, ErrStranger) {
			t.Errorf("got %t, %v", ok, err)
		}
	})
	t.Run("our server has ended", func(t *testing.T) {
		t.Parallel()
		process := alive(t)
		if err := process.Stop(t.Context(), stopHangs); err != nil {
			t.Fatal(err)
		}
		s := at(t, strangers(t, nil), process)
		if err := s.Check(t.Context()); !errors.Is(err, ErrStranger) {
			t.Errorf("got %v", err)
		}
		if err := s.await(t.Context()); err == nil {
			t.Error("waiting for a server that has ended succeeds")
		}
	})
}

func TestOurServerIsTaken(t *testing.T) {
	t.Parallel()
	s := at(t, strangers(t, nil), alive(t))
	if err := os.WriteFile(s.log(), []byte("serves the API at "+s.Server.URL+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.await(t.Context()); err != nil {
		t.Error(err)
	}
}
