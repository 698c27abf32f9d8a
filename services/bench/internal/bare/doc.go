// Package bare does the SQL of issuing and revoking without a lease, a token, a
// record or an API: what the target alone can do, in the same run.
//
// It does so in the best way that is known: statements of many accounts in one
// transaction and one message, each account behind a savepoint; a batch forms from
// what came while the one before was under way ([Batched]). Beside it stands the
// obvious way, a transaction for each account on a connection for each client
// ([Single]).
//
// It is no substitute for a server: it reads nothing back, proves nothing, and
// what it made when it is killed nobody finds.
package bare
