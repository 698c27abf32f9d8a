package sqlite_test

import (
	"testing"

	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/store/sqlite"
	"github.com/curfew-project/curfew/shared/store/storetest"
)

func open(t *testing.T, dir string, c clock.Clock) *sqlite.Store {
	t.Helper()
	s, err := sqlite.Open(t.Context(), dir, c, sqlite.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func empty(t *testing.T, c clock.Clock) store.Store {
	t.Helper()
	return open(t, t.TempDir(), c)
}

func TestConformance(t *testing.T) {
	t.Parallel()
	storetest.Run(t, empty)
}

func TestModel(t *testing.T) {
	t.Parallel()
	storetest.RunModel(t, empty)
}
