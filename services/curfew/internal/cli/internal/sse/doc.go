// Package sse reads server-sent events (the text/event-stream format of the
// WHATWG HTML standard, section "Server-sent events") off a stream.
//
// What the standard asks of a reader and this one does: lines end in LF, CR or
// CRLF; a leading byte order mark is dropped; lines that start with a colon
// are comments (heartbeats); data lines of one event are joined with LF; an id
// with a NUL in it is ignored; an event without data is not delivered; and an
// event whose closing blank line never came is discarded, because the stream
// may have been cut in the middle of it.
//
// The bytes are foreign: one event may not exceed MaxEvent, so that a stream
// that never ends an event cannot fill the memory.
package sse
