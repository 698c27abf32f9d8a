// Package jetstream is the event stream on NATS JetStream: an external server
// or cluster ([Dial]), or a server inside the process ([Embed]).
//
// # What holds
//
//   - One stream, CURFEW_EVENTS, on curfew.event.>, with limits retention and a
//     maximum age. Subjects are type and mount: their number does not grow with
//     leases.
//   - The stream keeps events in the order of their numbers (D3), also when a
//     connection breaks or a leader dies between two of them: each event says
//     which sequence it follows, so that the server refuses those behind one
//     that was lost. After a failure a single event shows where the stream ends.
//   - Nats-Msg-Id is the event's id: what is sent again within 15 seconds is
//     stored once. After a longer outage one batch may be stored twice;
//     consumers go by number.
//   - At most 1,024 publishes are outstanding. Publish fails at once while
//     disconnected, waits 3 s for an acknowledgement and never beyond ctx, but
//     for a write that a silent server does not take (2 s).
//   - Few pull consumers, which acknowledge cumulatively. One that is not
//     durable lives in the memory of one server, and knows itself what it has
//     acknowledged: after any loss it goes on from there. Messages lost on the
//     way are noticed by their sequence.
//   - Heads are plain messages: the latest to arrive wins. A publisher that has
//     lost its lock may announce an older head once; the next correct one comes
//     within a second, and a head is a hint that may only cause a look at the
//     store (D4).
//   - Programs wake the publisher by the store's own notification, which is part
//     of the commit. There is no second way through the bus.
//
// # Start
//
// Dial needs no server (promise 6): it fails only for a configuration that
// cannot work and for a server that refuses the login or whose TLS does not
// fit. The stream is made by the first call that misses it. Only a publisher
// changes the settings of one that is there, once for each connection, and
// leaves alone what Curfew has no opinion on (placement, compression, metadata).
// What the server does not permit is no error: [Bus.Check] names it with what
// to change.
//
// A server inside the process reads all of its stream after a kill before it
// serves: seconds for a full one. [Published] says at once how far it had come, to
// within the time between two announcements; a file beside the server's own keeps
// that.
//
// # What can fail
//
//	server away      calls return ErrDisconnected; nats.go reconnects for ever,
//	                 also after a refused login
//	server silent    given up after two pings, 4 to 6 s; calls end with their
//	                 deadlines. A Replay ends with an error after 5 s
//	leader lost      publishing and reading pause for the election, 4 to 10 s
//	majority lost    calls return errors, but for Fetch where the consumer lives
//	                 on a server that is left: nothing comes. The servers need
//	                 10 s to notice; all goes on with the majority
//	stream gone      the publisher makes it anew at the next publish
//	consumer gone    Fetch makes it anew; a durable one from the beginning of
//	                 the stream, another from what it had acknowledged
//	disk full        Publish returns the server's error, or none comes; events
//	                 stay in the store, whose backlog limit guards issuing (D4).
//	                 A server of its own stores nothing until it is started
//	                 again, also where there is room again; one inside the
//	                 process is started anew (below)
//	no permission    ErrDenied with the subject, at once
//
// # The disk
//
// The server flushes to disk every two minutes by default (sync_interval) and
// acknowledges before: a power cut of the only server, or of all three at once,
// loses what was acknowledged since. That default is right here. The store has
// every event until the ledger confirmed it (D4); a lost tail shows by the next
// head and is fetched from the store. `sync_interval: always` costs twenty times
// the throughput and would protect only subscribers that are nobody's record.
// Who wants those covered, too, uses three replicas in separate failure domains.
//
// # Permissions
//
// The users of the programs need, besides subscribing to _INBOX.> (or
// [Client.InboxPrefix]) and curfew.head, to publish to:
//
//	issuer    curfew.event.>  curfew.head  $JS.API.INFO
//	          $JS.API.STREAM.INFO.CURFEW_EVENTS
//	          $JS.API.STREAM.CREATE.CURFEW_EVENTS
//	          $JS.API.STREAM.UPDATE.CURFEW_EVENTS
//	          $JS.API.STREAM.MSG.GET.CURFEW_EVENTS
//	auditor   $JS.API.INFO  $JS.API.STREAM.INFO.CURFEW_EVENTS
//	          $JS.API.STREAM.MSG.GET.CURFEW_EVENTS
//	          $JS.API.CONSUMER.CREATE.CURFEW_EVENTS.>
//	          $JS.API.CONSUMER.INFO.CURFEW_EVENTS.*
//	          $JS.API.CONSUMER.MSG.NEXT.CURFEW_EVENTS.*
//	          $JS.API.CONSUMER.RESET.CURFEW_EVENTS.*
//	          $JS.API.CONSUMER.DELETE.CURFEW_EVENTS.*
//	          $JS.ACK.CURFEW_EVENTS.>
//	revoker   both
//
// Where operators make the stream themselves, CREATE and UPDATE may be left out;
// without MSG.GET neither fsck, nor a start, nor who publishes sees where the
// stream ends, and a stream that has other events than the store is published to.
// [PublisherMayPublish] and [ConsumerMayPublish] are the same lists.
//
// # Figures
//
// On two cores that servers and client share (server 2.15.2, events of 0.5 kB,
// acknowledged events a second; BenchmarkConsume reads what is stored):
//
//	                    one server   three, R3
//	one by one              20,000       3,000
//	batches of 64           56,000      39,000
//	batches of 1,024        68,000      54,000
//	read, acknowledged     265,000     190,000
//
//	go test -tags integration -run '^$' -bench . ./shared/bus/jetstream
//
// # Embedded
//
// The embedded server listens only where [EmbedConfig.Listen] says so, and then
// only for the user "subscriber", who may read and may not publish events.
package jetstream
