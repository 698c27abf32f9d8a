package request

import (
	"net/http"

	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
)

// Event is the record of the request with the HTTP status of its answer (D6).
func (r *Request) Event(status int) event.Event {
	kind := event.RequestServed
	if status == http.StatusForbidden || status == http.StatusUnauthorized {
		kind = event.RequestDenied
	}
	path := Loggable(r.Path)
	return event.Event{
		Type:    kind,
		Subject: path,
		Data: event.Data{
			Actor: r.Actor, Mount: r.Mount,
			Operation: string(r.Operation), Path: path, Status: status, Fields: r.names(),
			MountType: r.MountType, TokenID: r.Caller.Lease.ID, Policies: some(r.Caller.Policies),
		},
	}
}

// Granting is the record of the request that hands out a credential or a token:
// its lease, and the account that the lease is for.
func (r *Request) Granting(id lease.ID, account string) event.Event {
	e := r.Event(http.StatusOK)
	e.Data.Granted, e.Data.Account = id, account
	return e
}

// Changed is the record of a change of configuration by the request; subject
// names what was changed.
func (r *Request) Changed(subject string) event.Event {
	path := Loggable(r.Path)
	return event.Event{
		Type:    event.ConfigChanged,
		Subject: subject,
		Data: event.Data{
			Actor: r.Actor, Mount: r.Mount,
			Operation: string(r.Operation), Path: path, Fields: r.names(),
		},
	}
}
