// Package record makes every request to the API an event (D6).
//
// What holds:
//   - an event is committed before its request is answered, unless it already
//     shared the commit of the request's transition; where it cannot be, the
//     answer is 503, except for what only takes access away;
//   - refused requests are events one by one up to a rate, and counts above it:
//     whoever guesses tokens cannot fill the store;
//   - a count that could not be committed is kept and tried again; nothing but
//     the end of the process loses one, and Run's end commits what is left;
//   - what is counted is bounded: a few hundred pairs of address and status,
//     and one pair for all others.
package record
