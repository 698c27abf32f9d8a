// Package mount is what the mounts of secret engines and those of auth methods
// have in common: entries of the store under paths of which none lies inside
// another, their settings, and how these are shown.
//
// What holds:
//   - of two enablings that are judged by the same list of mounts one is
//     committed: each edits one entry beside its own ([Shelf].Table);
//   - an edit is of the revision that it was made from;
//   - the event of a change is in its commit.
//
// What can fail: the store; a path that is taken, or settings that are none, are
// a 4xx of whoever calls. Errors mean "not done", but store.ErrUnknown.
//
// Who calls: packages mounts and auth.
package mount
