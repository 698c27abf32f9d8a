// Package listener opens the address of an API, with TLS unless the
// configuration says not to, and serves it until its turn to stop comes.
//
// # What holds
//
//   - TLS 1.2 at least. With a client CA, who presents a certificate must have one
//     of it; with tls_require_and_verify_client_cert everybody must.
//   - Certificate, key and client CA are read again at SIGHUP, and within seconds
//     when their bytes change. Connections that are open go on; those that come
//     later get what is new, also where they resume a session.
//   - What cannot be used (a key of another certificate, half a file, a CA file
//     without a certificate) replaces nothing: it is logged once, and the old goes
//     on until its certificate has expired, as clients see it.
//
// # What can fail
//
//	the files at a start       no start; -check-config says the same
//	the files later            logged, the old ones go on
//	the address is taken       no start
package listener
