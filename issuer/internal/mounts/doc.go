// Package mounts is the table of mounts: which engine serves which path.
//
// What holds:
//   - a mount is one entry of the store; its incarnation, not its path, is what
//     leases, roles and connections refer to, so that a path can be used again
//     while the leases of an older mount are still being revoked;
//   - no mount lies inside another: every enabling also writes the entry
//     "mount-table", so that of two concurrent ones the later sees the former;
//   - each request reads the store: a mount that was disabled serves nothing
//     from the commit on (A3);
//   - disabling commits the withdrawal first and revokes afterwards, from a new
//     listing; what that misses is refused or revoked by its activation. The
//     entry goes when its last lease has ended (A2), which is the revoker's
//     part, as is what an issuer that dies in between leaves over.
//
// What can fail is a [*wire.Error] where the request is wrong; anything else
// means "not done".
package mounts
