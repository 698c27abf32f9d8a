// Package auth is the table of auth mounts: which method lets clients log in
// below which path of auth/, and the contract of such a method.
//
// What holds:
//   - an auth mount is one entry of the store; its incarnation is what roles
//     and tokens refer to, so that a path can be used again while the tokens of
//     an older mount are still being revoked;
//   - no auth mount lies inside another: every enabling also writes the entry
//     "auth-table", so that of two concurrent ones the later sees the former;
//   - token/ is always there and is no entry;
//   - each request reads the store: a mount that was disabled lets nobody in
//     from the commit on. A login names its mount among the guards of the
//     token's beginning, so that one which read the mount before is refused by
//     the commit (A3);
//   - disabling commits the withdrawal first, revokes the mount's tokens from a
//     new listing, has the method clear what it kept, and then removes the
//     entry. Whatever an issuer that dies in between leaves over, [Table.Sweep]
//     of any issuer completes;
//   - failed logins are counted in the store, by its clock, for all issuers
//     together ([Lockout]). Only aliases that exist are counted, and one that is
//     locked is not counted further: who guesses cannot fill the store;
//   - no password, secret id or token is in an entry, an event or a log.
//
// What can fail is a [*wire.Error] where the request is wrong; anything else
// means "not done":
//
// | fails | then |
// |---|---|
// | the store, reading a mount or a counter | the login fails; nobody is let in unchecked |
// | the commit that counts a failed login | the answer is that error: a guess that is not counted is not judged |
// | the commit of a withdrawal, outcome unknown | an error; asked again it is done, or is "no mount" |
// | revoking or clearing after the withdrawal | 204: nobody can log in; the sweep goes on |
//
// Who calls: the API (sys/auth, auth/…, logins), and steps of each issuer:
// [Table.Finish] each second, [Table.Tidy] each hour.
package auth
