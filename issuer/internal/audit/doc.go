// Package audit serves sys/audit and sys/audit-hash: which audit devices there
// are. What they write is the auditor's part; both meet in the store (package
// device).
//
// What holds:
//   - an answer of success to an enabling says that an auditor has the file open
//     and that every event committed from then on gets into it; a refusal says
//     why, and leaves nothing behind;
//   - paths of devices do not lie inside each other, also where two are enabled at
//     the same time: every enabling edits the entry "audit-table";
//   - the key of a device never leaves it unsealed; sys/audit-hash answers the
//     hash that lines have.
//
// | fails | then |
// |---|---|
// | the auditor refuses the file | 400 with its reason |
// | no auditor answers in time | 503; the entry is taken back by a compare-and-swap that the auditor's answer may win, and then it is a success |
// | the issuer, while it waits | the entry stays until its time is up, then whoever meets it deletes it |
// | the device, later | it is listed with a warning; its path can be read for the reason |
package audit
