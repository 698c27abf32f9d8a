// Package redis is the expiry index that many revokers share: Redis 7.0 or
// later, or Valkey; one server, one with Sentinels, or a Redis Cluster.
//
// # What is kept
//
// A target has four keys in one slot ("curfew:{target}:due" and so on) and the
// registry of targets three in another; scripts.go describes them, and KEYS,
// ARGV and result of every script. In flight is a hash, not a sorted set: an
// offer asks it by lease, and what runs out are claims, of which there are few.
//
//	          offer                    claim                    complete
//	──▶ due (earliest time, LT) ──▶ in flight (token) ──┬──▶ gone
//	     ▲                                              │
//	     └──────── put back, lapsed, offered since ◀────┘
//
// # What holds
//
//   - A time in due only falls (D1): every script adds with ZADD LT. Only a
//     completion that names the token puts later, and loses to an earlier time
//     that was offered meanwhile.
//   - A script is whole or not at all, also in the append-only file and on the
//     replicas. Within it a member enters in flight before it leaves due, and
//     due before it leaves flight.
//   - Claims end by the server's own TIME, which serves nothing else (A5); due
//     times are compared with the time that the caller gives. Each clock may be
//     off by any amount. One that goes back, as at a failover, delays the end of
//     a claim by at most its hold, once Lapse has seen it.
//   - A claim that ran out is ended by Lapse, or by an offer of one of its
//     members, whichever comes first. Until then its holder may still extend or
//     complete it.
//   - Every script may be run twice, since an answer may be lost: the client asks
//     again, and a claim asked for again is the same claim. Only a completion
//     says ErrLapsed the second time.
//   - Work grows with targets that have something due or in flight, never with
//     leases alive. No reply is longer than 1,000 members or 256 targets, no
//     script longer than a claim, and each exchange ends within Config.Timeout.
//
// # The registry
//
// Upcoming must find targets without a scan of the keys, and a target's keys
// are in another slot than the registry, so that no script sees both. Therefore:
// who changes a target announces it afterwards, with its earliest time and a new
// random stamp; announcing only lowers a time. Who looks at a target and finds
// less than was announced corrects the registry, or drops the target, but only
// if the stamp is still the one that it read before it looked: a change after the
// look is announced after the look, and changes the stamp. So an announcement is
// never undone by an older look; an announcement too many costs one look.
//
// Lost is only what a process did not announce because it died in between, or
// because the registry's node did not answer. The next offer, claim or completion
// on that target announces it all, and the sweep of the store finds what is
// overdue without it. Missing takes for missing what waits, or is in flight, in a
// target that is not announced: so it is offered again, before it is overdue.
//
// # How much is kept
//
// By default a due time for every live lease (D2): 158 bytes each, so 1.6 GB for
// ten million. The caller bounds it by offering only what falls due within a
// window. Nothing ends a member that was offered but its claim: one whose lease
// ended by another way stays until its time. After a loss what falls due soon is
// back at once, since the store is compared with the index; what lies beyond
// comes back as it comes near.
//
// # What can fail
//
//	server away               every call fails within the timeout; after many
//	                          failures connections are tried once a second
//	restart without           empty: claims have lapsed, the store fills it again
//	 persistence, flush,
//	 failover to an empty one
//	failover                  what was written last may be lost: as above, in part;
//	                          READONLY and MOVED are followed
//	scripts forgotten         NOSCRIPT: the source is sent
//	answer lost               asked again; else the error. A claim that nobody knows
//	                          of lapses after its hold
//	memory full (noeviction)  offers fail with OOM; claims, completions, put-backs
//	                          and lapses go on (allow-oom)
//	a key evicted or deleted  Missing tells; members are offered again by the store; a
//	                          flight whose claim is gone is freed by the next offer or
//	                          Lapse
//
// [Index.Check] looks for settings that invite these and says what to change
// (D2); nothing that it finds is a reason not to start.
//
// # Rights
//
// [ACL] gives the rules; for the prefix "curfew:":
//
//	ACL SETUSER curfew on >password resetchannels resetkeys ~curfew:* -@all
//	  +eval +evalsha +time +exists +del +hget +hset +hmget +hdel +hlen +zadd
//	  +zcard +zrange +zrem +zscore +cluster|slots +command +select +info
//	  +config|get
//
// # Figures
//
// One Redis 7.0.15 with an append-only file, client and server on two shared
// cores, ids of 47 bytes:
//
//	offers in pages of 1,000               159,000 leases/s
//	claim and completion, batches of 128    72,000 leases/s, one worker
//	                                       105,000 leases/s, four workers
//	comparing in pages of 1,000            256,000 leases/s
//	a waiting lease                            158 bytes
//
// From the module's folder:
//
//	go test -tags integration -run '^$' -bench 'Offer|Claim|Missing' -benchtime 300000x ./expiry/redis
//	go test -tags integration -run '^$' -bench Memory -benchtime 1000000x ./expiry/redis
package redis
