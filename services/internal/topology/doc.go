// Package topology runs the distributed form as processes on one machine, on
// free loopback ports and below one folder: what docker-compose.yml describes
// for containers, for those who try it out without them, and for the tests.
//
//	clients ─▶ proxy ─▶ issuer-1, issuer-2
//	                        │
//	    Postgres (the store) ┼ NATS ×3 (R3) ┼ Redis ─▶ its replica
//	                        │
//	     revoker-1, revoker-2    auditor-1, auditor-2 (one ledger)
//
// With Config.Standby the store has a synchronous standby, which the programs know
// of and which CutOff, Kill and Promote turn into what an operator may meet: a
// failover that loses nothing, or one to a copy that stood still.
//
// Each is a [Part] that can be stopped, killed and started again by its name.
// Everything ends with this process (on Linux), and Close removes the folder.
//
// Postgres and Redis are looked for as the tests do (package find); NATS is the
// server library in a process of its own (cmd local).
package topology
