// Package request is one request to the API as the handlers see it: read from
// HTTP, with its bounds checked, and with the event that records it.
//
// What holds:
//   - PUT and POST are the same, and so are the verb LIST and GET with list=true;
//   - a path is decoded once, here, and has no empty, "." or ".." element and no
//     control character then, so that it means the same to every reader of it;
//   - the Content-Type says nothing: a body is JSON;
//   - the event names the fields that were sent, never their values, and no
//     token that somebody put into a path (D6).
//
// What can fail is a [*wire.Error] with a status of 400, 405 or 413.
package request
