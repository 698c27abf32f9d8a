// Package jetstream is the event stream on NATS JetStream: an external server
// ([Dial]) or one inside the process ([Embed]).
//
// What holds: one stream, CURFEW_EVENTS, on curfew.event.>, with limits
// retention and a maximum age; few durable pull consumers that acknowledge
// cumulatively; a bounded number of publishes outstanding; Nats-Msg-Id is the
// event's id, so that what is sent again within the window is stored once.
// Subjects are type and mount: their number does not grow with leases.
//
// The default flush interval of the server stays (two minutes): the store has
// every event until the ledger confirmed it (D4), so a lost tail is sent or
// fetched again and nothing waits for the broker's disk.
//
// What can fail:
//
//	stream gone      the publisher makes it anew at the next publish
//	consumer gone    Fetch makes it anew; a durable one from the beginning of
//	                 the stream, another from shortly before it was lost
//	server away      Publish and Fetch return errors; nats.go reconnects for
//	                 ever
//
// The embedded server listens only where [EmbedConfig.Listen] says so, and then
// only for the user "subscriber", who may read and may not publish events.
package jetstream
