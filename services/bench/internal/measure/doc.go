// Package measure drives load and takes the times.
//
// What holds: latencies are exact (every sample is kept and sorted; a run is
// bounded, so this is cheaper than the doubt about a histogram's buckets);
// clients are warm before the first sample; a failed operation counts as an
// error and never as a latency; the processor time of each group of processes is
// that between the first and the last sample.
//
// A closed loop ([Closed]) has a fixed number of clients, each of which waits for
// its answer before it asks again: it finds the highest rate, and its latencies
// leave out what clients would have waited that did not come meanwhile
// (coordinated omission). An open loop ([Open]) asks at a fixed rate and counts
// from when an operation was due, so nothing is left out; where the rate is more
// than the server takes, latencies grow as they do at work.
//
// Processor time and memory are read from /proc and are zero where there is none.
package measure
