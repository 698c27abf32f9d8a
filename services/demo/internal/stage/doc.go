// Package stage is what the demo plays on: a Postgres cluster of its own as the
// target, and `curfew server` as a child process, with everything embedded; or,
// in its place, the distributed form as package topology runs it.
//
// # What holds
//
//   - Nothing that was running before is used: the server has to say itself
//     that it listens on the address that it was given, to be alive when it
//     answers there, and to know the root token that is in its own data
//     directory. Anything else at that address is refused.
//   - Children see none of the caller's VAULT_*, BAO_*, PG* and CURFEW_*
//     variables, and a temporary HOME.
//   - Listeners are on 127.0.0.1, on free ports.
//   - [Stage.Close] leaves no process and no file; also after half an [Open].
//
// # What can fail
//
//	no Postgres anywhere       *find.NotFoundError, with one line for each way
//	the server ends            the error shows the end of its log
//	the address is a stranger's  ErrStranger
//	a part does not come up    the error shows the end of its log
//	we are killed              Linux ends the children; the folder stays behind
package stage
