// Package fault is the one place that says what an error is to a client:
// status, text and when to come back. What it does not know is a 500 with the
// id of the request and no detail.
package fault

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/curfew-project/curfew/issuer/internal/wire"
	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/gather"
	"github.com/curfew-project/curfew/shared/store"
)

// Of is err as a client sees it; err is not nil.
func Of(err error, requestID string) *wire.Error {
	if w, ok := errors.AsType[*wire.Error](err); ok {
		return w
	}
	if e, ok := errors.AsType[*engine.Error](err); ok {
		return ofEngine(e, err, requestID)
	}
	if q, ok := errors.AsType[*store.QuotaError](err); ok {
		return &wire.Error{
			Status: http.StatusTooManyRequests, Messages: []string{fmt.Sprintf("request path %q: %v", q.Path, store.ErrQuota)},
			RetryAfter: time.Second, Cause: err,
		}
	}
	switch {
	case errors.Is(err, gather.ErrFull):
		return wire.Unavailable(err, "too many requests wait for the store: try again")
	case errors.Is(err, store.ErrSuspended):
		return suspended(err)
	case errors.Is(err, store.ErrUnavailable):
		return wire.Unavailable(err, "the store does not answer or takes no writes, and nothing was done: try again; the server's log has the reason, request %s", requestID)
	case errors.Is(err, store.ErrUnknown):
		return wire.Unavailable(err, "the store's answer was lost, so the request may have been done or not: look, and try again; request %s", requestID)
	case errors.Is(err, store.ErrWithdrawn), errors.Is(err, store.ErrRevision), errors.Is(err, store.ErrExists):
		return wire.Unavailable(err, "what the request needs was changed by others at the same time: try again")
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return wire.Unavailable(err, "the request took too long: try again")
	}
	return unknown(err, requestID)
}

// suspended says what a client cannot have now, and where a person looks (A7).
// A recovery takes seconds, or needs a person: neither is worth a busy client.
func suspended(err error) *wire.Error {
	w := wire.Unavailable(err, "the store is suspended: it has lost commits, or its server was started and nobody has compared it with the audit log since; "+
		"nothing is issued or renewed until that is done; see sys/installation")
	w.RetryAfter = suspendedRetry
	return w
}

const suspendedRetry = 5 * time.Second

func ofEngine(e *engine.Error, err error, requestID string) *wire.Error {
	w := &wire.Error{Cause: err, RetryAfter: e.After}
	switch e.Kind {
	case engine.Invalid, engine.Refused:
		w.Status, w.Messages, w.RetryAfter = http.StatusBadRequest, []string{e.Message}, 0
	case engine.NotFound:
		return &wire.Error{Status: http.StatusNotFound, Cause: err}
	case engine.UnsupportedPath:
		return wire.UnsupportedPath()
	case engine.UnsupportedOperation:
		return wire.UnsupportedOperation()
	case engine.Unreachable:
		w.Status, w.Messages = http.StatusInternalServerError, []string{e.Message}
	case engine.Conflict, engine.Busy, engine.NotYet:
		w.Status, w.Messages = http.StatusServiceUnavailable, []string{e.Message}
		w.RetryAfter = max(w.RetryAfter, time.Second)
	case engine.Internal:
		return unknown(err, requestID)
	default:
		return unknown(err, requestID)
	}
	return w
}

func unknown(err error, requestID string) *wire.Error {
	return &wire.Error{
		Status:   http.StatusInternalServerError,
		Messages: []string{"internal error: see the server's log for request " + requestID},
		Cause:    err,
	}
}
