// Package index feeds the expiry index from the stream and from the store.
//
//	Indexer   stream → index: the leases of each event, as far ahead as the index
//	          is to know (D2)
//	Upcoming  store → index: each lease once, as it enters the window
//	Drift     store ↔ index: what falls due within the window and the index lacks
//	Overdue   store → index: what is due, whatever was forgotten (D1)
//
// # What holds
//
//   - Nothing here decides anything; a member is a hint (D1). Who claims it reads
//     the store.
//   - The store is read only for leases that are due or come due within the
//     window, never for all. An event of a lease beyond it is a hint itself: its
//     time is offered as it is, all of a fetch in one offer.
//   - A hint may be stale. A lease that was renewed since is claimed at its old
//     time and put back at the new one. One that ended in another way than
//     through this index stays until its time, and is then dropped.
//   - The index lacks a lease only as long as it takes to notice. Drift counts
//     what it lacked at two looks in a row, so that an event under way is none,
//     and offers it again. Unconfirmed intents are none either: no event tells
//     when they fall due.
//
// # One consumer for each revoker
//
// An index that several revokers share gets each hint from each of them, though
// once would do. A consumer that they shared would hand each batch to one
// of them: if that one dies with it, the broker sends the batch again only after
// 30 s, and acknowledging up to a place, as the stream's consumers do, would
// confirm what another has not handled yet. With one consumer each, a death
// loses nothing: all others have read the same. The price is an offer in each
// process for each event, of which one server takes over 100,000 a second.
//
// # A shared index, and one of each revoker's own
//
// What the overdue sweep finds goes to the shared index as long as members are
// claimed from it, so that one revoker takes each lease. While it is away, silent
// or refuses to be written to, it goes to an index of each process's own, and so
// does, in any case, what is 30 s late: a revoker that is stuck may prolong its
// claim for ever ([Sieve]).
//
// # What can fail
//
//	index away      offers fail; what is due goes by the overdue sweep. An event
//	                that came meanwhile is not offered again: its lease comes as
//	                it enters the window, or by Drift if it is within
//	index emptied   Drift finds it at its next look, a second apart, and offers
//	                again what it saw; where there is more, Upcoming starts its window anew.
//	                Beyond the window leases come back as they enter it
//	index lost part as above, for that part
//	stream away     leases that are issued for less than the window come by Drift,
//	                all others by Upcoming
//	store away      nothing is known to be due; the indexer offers by the events
//	clock goes back the steps begin anew at the present
package index
