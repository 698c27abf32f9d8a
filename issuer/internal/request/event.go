package request

import (
	"net/http"

	"github.com/curfew-project/curfew/shared/event"
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
		},
	}
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
