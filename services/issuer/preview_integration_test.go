//go:build integration

package main

import (
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/secret"
	"github.com/curfew-project/curfew/shared/store/postgres"
	"github.com/curfew-project/curfew/shared/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

func TestPreviewIsWhatIsTakenInPostgres(t *testing.T) {
	t.Parallel()
	cluster := testkit.SharedDurablePostgres(t)
	s, err := postgres.Open(t.Context(), clock.System{}, zerolog.Nop(), postgres.Config{
		URL: secret.New(cluster.AdminURL("postgres")), Schema: "test_" + strings.ToLower(lease.RandomBase62(12)),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	previewLaw(t, s)
}
