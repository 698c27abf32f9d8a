// Package relay lets issuers answer for the auditors: a reader asks the issuer
// for the record, with a token; the issuer, which knows tokens, passes the
// request on to an auditor, which does not.
//
// An auditor serves only who proves to be of the installation: the request bears
// a key that both derive from the seal. The reader's token is not passed on.
// Whoever holds the key could read the record, which has no secret in it; the
// key opens nothing else. It crosses the network with each request: the
// auditors' listeners should have TLS where that network is not trusted.
//
// # What can fail
//
//	an auditor is away       the next is asked; all are tried once
//	an auditor hangs         the same after 15 s, and the other is asked first
//	                         from then on
//	all auditors are away    503 with Retry-After
//	an auditor dies while    the stream ends; the reader resumes by
//	it answers a stream      Last-Event-ID, as from any cut
//	key of another           401 of the auditor becomes 503 here, and is logged
//	installation
package relay
