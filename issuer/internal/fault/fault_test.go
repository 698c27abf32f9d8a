package fault

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/curfew-project/curfew/issuer/internal/wire"
	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/gather"
	"github.com/curfew-project/curfew/shared/store"
)

func TestOf(t *testing.T) {
	t.Parallel()
	of := func(k engine.Kind) error { return &engine.Error{Kind: k, Message: "text"} }
	for _, c := range []struct {
		err   error
		code  int
		text  string
		retry bool
	}{
		{of(engine.Invalid), 400, "text", false},
		{of(engine.Refused), 400, "text", false},
		{of(engine.NotFound), 404, "", false},
		{of(engine.UnsupportedPath), 404, wire.Listed("unsupported path"), false},
		{of(engine.UnsupportedOperation), 405, wire.Listed("unsupported operation"), false},
		{of(engine.Unreachable), 500, "text", false},
		{of(engine.Conflict), 503, "text", true},
		{of(engine.Busy), 503, "text", true},
		{of(engine.NotYet), 503, "text", true},
		{of(engine.Internal), 500, "internal error: see the server's log for request id", false},
		{of("made up"), 500, "internal error: see the server's log for request id", false},
		{wire.Denied(), 403, "permission denied", false},
		{gather.ErrFull, 503, "too many requests wait for the store: try again", true},
		{store.ErrRevision, 503, "what the request needs was changed by others at the same time: try again", true},
		{context.DeadlineExceeded, 503, "the request took too long: try again", true},
		{errors.New("secret detail"), 500, "internal error: see the server's log for request id", false},
		{
			store.ErrSuspended, 503, "the store is suspended: it has lost commits, or its server was started and nobody has compared it with the audit log since; " +
				"nothing is issued or renewed until that is done; see sys/installation", true,
		},
		{store.ErrUnavailable, 503, "the store does not answer or takes no writes, and nothing was done: try again; the server's log has the reason, request id", true},
		{store.ErrUnknown, 503, "the store's answer was lost, so the request may have been done or not: look, and try again; request id", true},
	} {
		for _, err := range []error{c.err, fmt.Errorf("act: %w", c.err)} {
			w := Of(err, "id")
			if w.Status != c.code || strings.Join(w.Messages, "|") != c.text || (w.RetryAfter > 0) != c.retry {
				t.Errorf("%v: %d %q retry %s, want %d %q", err, w.Status, w.Messages, w.RetryAfter, c.code, c.text)
			}
		}
	}
	if w := Of(&engine.Error{Kind: engine.Busy, After: time.Minute}, "id"); w.RetryAfter != time.Minute {
		t.Errorf("retry after %s", w.RetryAfter)
	}
}
