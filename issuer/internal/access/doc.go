// Package access keeps the policies of the installation and decides by them
// what a request may do.
//
// # What holds
//
//   - A request is allowed by the policies of its token, as they stand now, or
//     it is refused: a policy that is not there allows nothing, and where the
//     store does not say how policies stand, nothing is allowed (fail closed).
//   - A change of a policy counts at once in the process that made it, and
//     elsewhere within a second: what is kept compiled is good for a second
//     after the store last said that nothing has changed; else each request
//     asks (as D7 has it for tokens). One generation counts the changes of all
//     policies, so that nothing but that has to be read to know.
//   - A token may look up, list, renew and revoke the leases that it created
//     itself, whatever its policies say.
//   - The answer to a request that is refused says that and nothing else. Why is
//     told where it is asked for, to the holder of the token: [Desk.Explain].
//
// # Root-protected paths
//
// Some paths need sudo beside the capability of the operation, as on stock
// servers: see sudo.go. The policy root needs none.
//
// # How changes are seen
//
// One entry of the store, the generation, is edited in the commit of every
// change of a policy. [Desk] is a step that reads it four times a second.
//
//	| fails | then |
//	|---|---|
//	| the store, while nothing is kept | the request fails; not as a refusal |
//	| the store, with policies that are kept | they count for a second more |
//	| two changes at the same time | one is made anew over the other |
//	| a policy is unreadable | it allows nothing, and the log says so |
package access
