//go:build integration

package scram_test

import (
	"crypto/rand"
	"errors"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/curfew-project/curfew/shared/engine/database/internal/scram"
	"github.com/curfew-project/curfew/shared/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// A role that was made with a verifier lets its password in, and no other; the
// server stores the verifier as it is (B10).
func TestServerTakesTheVerifier(t *testing.T) {
	t.Parallel()
	cluster := testkit.SharedPostgres(t)
	database := cluster.NewDatabase(t)
	admin := testkit.Connect(t, cluster.AdminURL(database))
	generated, err := scram.Password(rand.Reader, scram.DefaultLength)
	if err != nil {
		t.Fatal(err)
	}
	for i, tc := range []struct {
		password   string
		iterations int
	}{
		{generated, scram.DefaultIterations},
		{generated, 1},
		{` !"#$%&'()*+,-./:;<=>?@[\]^_{|}~` + "`", 2}, // all of ASCII that is printed and no letter or digit
	} {
		salt := make([]byte, scram.SaltLen)
		if _, err := rand.Read(salt); err != nil {
			t.Fatal(err)
		}
		v := verifier(t, tc.password, salt, tc.iterations)
		role := fmt.Sprintf("scram_%d_%s", i, database)
		if _, err := admin.Exec(t.Context(), fmt.Sprintf(`CREATE ROLE %s LOGIN PASSWORD '%s'`, role, v)); err != nil {
			t.Fatal(err)
		}
		var stored string
		if err := admin.QueryRow(t.Context(), "SELECT rolpassword FROM pg_authid WHERE rolname = $1", role).Scan(&stored); err != nil || stored != v {
			t.Errorf("the server stores another verifier, %v", err)
		}
		conn := testkit.Connect(t, cluster.URL(role, tc.password, database))
		if err := conn.Ping(t.Context()); err != nil {
			t.Errorf("log in with %d iterations: %v", tc.iterations, err)
		}
		_, err := pgx.Connect(t.Context(), cluster.URL(role, tc.password+"x", database))
		var refused *pgconn.PgError
		if !errors.As(err, &refused) || refused.Code != "28P01" {
			t.Errorf("log in with another password: %v", err)
		}
	}
}

// The server's own verifiers are read, and fit their passwords.
func TestVerifyReadsTheServersVerifiers(t *testing.T) {
	t.Parallel()
	cluster := testkit.SharedPostgres(t)
	database := cluster.NewDatabase(t)
	admin := testkit.Connect(t, cluster.AdminURL(database))
	role := "server_made_" + database
	if _, err := admin.Exec(t.Context(), fmt.Sprintf(`CREATE ROLE %s LOGIN PASSWORD 'pencil'`, role)); err != nil {
		t.Fatal(err)
	}
	var stored string
	if err := admin.QueryRow(t.Context(), "SELECT rolpassword FROM pg_authid WHERE rolname = $1", role).Scan(&stored); err != nil {
		t.Fatal(err)
	}
	for password, want := range map[string]bool{"pencil": true, "pencils": false} {
		if got, err := scram.Verify(password, stored); err != nil || got != want {
			t.Errorf("verify %q: %v, %v", password, got, err)
		}
	}
}
