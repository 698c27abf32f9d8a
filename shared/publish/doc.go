// Package publish moves committed events from the store to the stream.
//
// # What holds
//
//   - One publisher at a time, by a fenced lock in the store (D3). It numbers
//     events densely in the order in which their commits became visible and
//     publishes them in that order; at the first missing acknowledgement
//     everything from it on is sent again.
//   - Numbers are given by the store in the commit that checks the fence: two
//     publishers that both believe to hold the lock give no number twice and
//     skip none. The loser stops at its next try to number.
//   - Its head is announced every second, also when nothing happens, so that a
//     lost tail is seen (D4).
//   - The store deletes only what both the broker and the ledger have (D4), and
//     keeps it a little longer for who follows the events in the store (D7).
//   - Who does not publish asks for the lock once a Config.Announce, however
//     often it is woken.
//
// # What can fail
//
//	lock lost          ErrLost from numbering; another publisher has it
//	broker away        events wait in the store and are sent when it is back.
//	                   They count as backlog, so that at its limit issuing is
//	                   refused (D4)
//	store away         nothing is committed; tried again by the runner
//	store restored     its head is behind what was sent: the store is suspended,
//	from a copy (A7)   an error says so. So it is where the stream's last event,
//	                   looked at before the first is sent, is none of the store's
//	store suspended    nothing is numbered, sent or deleted, and the lock is
//	(A7)               kept, until it is recovered. Positions are ordered by epoch
//	                   first: what was sent, of whatever number, is before the
//	                   first event of the new one
//	process dies       the next publisher sends again what was not recorded as
//	                   sent, at most Config.Announce old: at least once
//
// # Who runs it
//
// Every issuer and revoker process. [Publisher.Close], after the last
// [Publisher.Do], spares the next publisher the wait for the lock to lapse.
package publish
