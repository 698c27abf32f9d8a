// Package testkit gives tests real servers: Postgres and Redis as child
// processes and NATS with JetStream in the test process (NATS) or, alone or as
// a cluster, as child processes that can be killed and paused (NATSProcesses:
// the test binary run again), each on a free port of 127.0.0.1 with temporary
// data. No test ever meets a server that the kit
// did not start.
//
//	func TestMain(m *testing.M) { testkit.Main(m) }
//
//	func TestX(t *testing.T) {
//		cluster := testkit.SharedPostgres(t)                    // one a test binary
//		admin := cluster.CreateAdmin(t, testkit.CreateRoleAdmin) // own database, own role
//		conn := admin.Connect(t)
//		…
//		own := testkit.Postgres(t)                              // to be killed
//		own.Kill(t)
//		own.Start(t)
//	}
//
// A package whose tests use the kit calls Main from its TestMain: it clears the
// variables that could lead a client to its user's servers, stops the shared
// cluster, and cleans up on ^C.
//
// Invariants:
//
//   - When a test that called Postgres, Redis or NATS has ended, so has that
//     server, and its files are gone. When the test binary ends, in whatever
//     way, so have all servers (Linux); package server says how.
//   - Tests on the shared cluster are isolated by database and by role name;
//     roles are visible to all. What names roles by pattern, or counts them,
//     needs a cluster of its own. So does what stops or reconfigures one.
//   - A missing server skips the test, with the reason. With CURFEW_CI=1, which
//     `make test` sets after installing, it fails.
//
// The servers do not flush to disk unless Durable is asked for: a kill of a
// server loses nothing that it acknowledged (the system still has it), a crash
// of the machine does.
package testkit
