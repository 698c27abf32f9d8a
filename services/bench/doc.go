// Command bench measures a server of the Vault API that issues database
// credentials: how many it issues, renews and takes away, and how long after its
// time a credential is gone. `make bench` builds and runs it.
//
//	bench                                # starts Postgres and `curfew server`
//	bench -form=distributed              # … and the programs of many machines
//	bench -address=http://… -target=…    # measures a server that runs elsewhere
//
// It speaks the Vault HTTP API and plain SQL only, so any compatible server can
// be measured with it; what needs a server's process (memory, restart, outage) is
// left out for one that it did not start. The same SQL is done without a server
// in the same run, and the table has the ratio: rates of different machines, or
// hours, do not compare.
//
// Load, server and target share the machine; the table says how much of the
// processor each took. It ends by itself, leaves neither a lease nor an account,
// and fails where the server does. docs/performance.md has results.
//
// Exit codes: 0 when all was measured, 1 when something failed, 2 when no Postgres
// was found or a flag is wrong, 130 when it was interrupted.
package main
