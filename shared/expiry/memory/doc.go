// Package memory is the expiry index of a single process: a B-tree a target.
//
// What holds is the contract of package expiry; besides:
//   - every operation costs O(log n) a member; nothing scans all members but
//     Lapse, which looks at claims only;
//   - memory grows with the members offered, so its caller offers a moving
//     window of what falls due soon (D2).
//
// What can fail: nothing but the process, and with it the whole content, which
// the contract allows.
package memory
