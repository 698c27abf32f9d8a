// Package cli is the client side of the curfew program: the commands status,
// login, read, write, list, delete, unwrap, explain, path-help, secrets, auth, policy, lease,
// token, operator, audit, fsck and completion.
// They speak the Vault HTTP API and keep to the stock vault CLI's grammar, output
// and exit codes, so that scripts and habits carry over. Run is the entry;
// commands that are not clients (the server, the verifier of a ledger directory)
// join the same tree as Extensions.
//
// # Contract
//
//   - Flags may be written -flag or --flag, before or after the arguments; "--"
//     ends them and "-" alone is an argument. See normalise.
//   - A setting is taken from its flag, else CURFEW_<NAME>, else VAULT_<NAME>,
//     else its default. The token has no flag: CURFEW_TOKEN, VAULT_TOKEN,
//     ~/.curfew-token, ~/.vault-token.
//   - Results go to standard output, everything else to standard error. With
//     -format=json standard output holds JSON or nothing; -format=yaml likewise.
//   - Requests are not retried unless CURFEW_MAX_RETRIES or VAULT_MAX_RETRIES
//     says so: a person, or a script's own loop, decides.
//   - A shell completes commands, flags and, from the server, paths, lease ids and
//     names; it is told nothing by a server that refuses or is slow.
//   - No message holds the client token, a value given as K=V, or a password
//     inside the address.
//
// # Exit codes
//
//	what happened                                          code
//	done                                                   0
//	usage; a local file, terminal or output that failed    1
//	the server refused, failed or could not be reached     2
//	nothing at the path                                    2
//	status: unsealed / error / sealed                      0 / 1 / 2
//	operator unseal: the key was taken / refused           0 / 2
//	explain: allowed / refused by policies                 0 / 2
//
// # Failures
//
//	standard output cannot be written   exit 1, also where the request succeeded
//	the token file cannot be written    exit 1; login shows no token
//	the audit stream breaks             tail resumes after the last event printed,
//	                                    with growing pauses; the first connection
//	                                    is tried once
//	interrupt                           the request is abandoned; tail ends with 0
//
// One limit is the client library's: it reads VAULT_* settings of the process
// before ours are applied, so a VAULT_* value that does not parse is an error
// even where a CURFEW_* value of the same name overrides it.
package cli
