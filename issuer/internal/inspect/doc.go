// Package inspect is sys/fsck: what `curfew fsck` reads of the store and of the
// targets, as package fsck of shared asks for it. It compares nothing itself, so
// that each request is short, whatever is alive.
//
//	GET sys/fsck                    how far events have come, who runs, which targets
//	GET sys/fsck/leases             leases that have not ended, by id: after, limit
//	                                or: account=NAME, id=ID, overdue=DURATION
//	GET sys/fsck/accounts/<target>  accounts that bear our mark, by name: after, limit
//
// What holds:
//   - nothing is changed by it, and nothing secret is in it;
//   - a page is bounded, however much is asked for;
//   - it tells whose leases there are, so a token needs sudo.
//
// | fails | then |
// |---|---|
// | the store | the request fails; nothing is known |
// | a target | its own request fails, with the reason; others do not notice |
package inspect
