// Package event holds the types of events and their encoding as CloudEvents
// 1.0. It does no I/O.
//
// What holds:
//   - each transition of a lease has exactly one event, made by [Of] and
//     committed by the store with the transition;
//   - an event carries an allow-list of fields ([Data]); there is no map that
//     a secret could slip into;
//   - an event has no number until the publisher numbers it; its id, also its
//     Nats-Msg-Id, is "<epoch>-<number>" (D3);
//   - the subject never holds the lease id: a subject costs the broker memory.
//
// Consumers are told: at least once; versions count per lease; ignore lower
// ones.
package event
