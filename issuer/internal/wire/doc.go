// Package wire is the shape of what goes over the connection: the envelope of
// an answer, the body of an error, the JSON that clients send and the values
// in it. It follows the exchanges recorded from stock clients.
//
// What holds:
//   - an envelope always has all of its keys, in one order; `null` where there
//     is nothing;
//   - text is not escaped for HTML, and a body ends in one newline;
//   - an error body is {"errors":[…]} and nothing else;
//   - bytes from a client become a map or an [*Error] with status 400 or 413;
//     never a panic, never half a map.
package wire
