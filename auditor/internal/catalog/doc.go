// Package catalog finds ledger entries by lease, type and time.
//
// # What holds
//
//   - It is derived from the ledger, entry by entry in order without a gap. It
//     stores positions and search keys; the answer is read from the ledger.
//   - It remembers the hash of the last line it took. Where the ledger has
//     another line there, or is shorter, it was replaced, and the catalogue is
//     made anew. (Two histories that part differ in every line after that.)
//   - The file is for its owner only, from before it has content.
//   - A search goes along one index, in order of position, and stops at its
//     limit. Times are not quite in order of positions, so the index of times
//     is one of the highest time up to each entry: it says where to begin.
//
// # What can fail
//
//	file deleted, made by another   made anew at the next start
//	version, or no database
//	file damaged                    made anew as soon as a search or an addition
//	                                meets it
//	file busy, disk full            an error; nothing is deleted, the caller
//	                                tries again
//	crash                           the last moments are read again
//	an entry that is no event       listed as [Unreadable], so that it hides
//	                                itself only
//
// While it is behind ([Catalog.Reached]) a search misses the newest entries; the
// API says so. It is no evidence: whoever can write the file can hide entries
// from a search, but not from the ledger.
package catalog
