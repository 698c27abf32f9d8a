package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/issuer/internal/fault"
	"github.com/curfew-project/curfew/issuer/internal/issuing"
	"github.com/curfew-project/curfew/issuer/internal/request"
	"github.com/curfew-project/curfew/issuer/internal/wire"
	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

// ServeHTTP implements [http.Handler].
func (a *API) ServeHTTP(w http.ResponseWriter, h *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	if h.URL.Path == "/" {
		http.NotFound(w, h)
		return
	}
	e := &exchange{api: a, w: w, h: h, id: request.NewID(), started: a.Clock.Now()}
	defer e.recover()
	_ = http.NewResponseController(w).SetReadDeadline(e.started.Add(a.cfg.ReadWithin)) // not every writer can
	if !strings.HasPrefix(h.URL.Path, request.Root) {
		e.refuse(wire.Nothing())
		return
	}
	path, err := request.Path(h.URL)
	if err != nil {
		e.refuse(err)
		return
	}
	ctx, cancel := context.WithTimeout(h.Context(), a.cfg.Within)
	defer cancel()
	if serve, ok := a.open[path]; ok && !request.AsksHelp(h) {
		e.public(ctx, path, serve)
		return
	}
	e.protected(ctx, path)
}

// public serves a path that needs no token.
func (e *exchange) public(ctx context.Context, path string, serve openRoute) {
	var answer *wire.Answer
	err := error(wire.UnsupportedOperation())
	switch e.h.Method {
	case http.MethodGet, http.MethodHead:
		e.probe = path
		answer, err = serve(ctx, e.h.URL.Query())
	case http.MethodPut, http.MethodPost:
		switch path {
		case "sys/init":
			answer, err = e.initialize(ctx)
		case unsealPath:
			answer, err = e.unseal(ctx)
		}
	}
	if err != nil {
		e.refuse(err)
		return
	}
	e.write(answer)
}

// unseal serves who has the key of what is sealed.
func (e *exchange) unseal(ctx context.Context) (*wire.Answer, error) {
	data, err := wire.Decode(e.body())
	if err != nil {
		return nil, err
	}
	return e.api.Status.Unseal(ctx, data, lease.Actor{Name: "unseal key", Address: request.Address(e.h), RequestID: e.id})
}

func (e *exchange) initialize(ctx context.Context) (*wire.Answer, error) {
	data, err := wire.Decode(e.body())
	if err != nil {
		return nil, err
	}
	return e.api.Status.Initialize(ctx, data)
}

// exchange is one request and its answer.
type exchange struct {
	api     *API
	w       http.ResponseWriter
	h       *http.Request
	id      string
	started time.Time
	req     *request.Request // once known
	wrote   bool             // the header is out: nothing can be said any more
	probe   string           // the open path that is read; empty: another request
	// tokenless, if set, serves a request that no token is needed for, and
	// nothing else may.
	tokenless func(context.Context, *request.Request) (*wire.Answer, error)
}

// body is the bounded body of the request.
func (e *exchange) body() io.ReadCloser {
	return http.MaxBytesReader(e.w, e.h.Body, e.api.cfg.MaxBody)
}

// protected serves what needs a token.
func (e *exchange) protected(ctx context.Context, path string) {
	a := e.api
	address := request.Address(e.h)
	var other http.Handler
	if !request.AsksHelp(e.h) {
		other = a.handlerFor(e.h.URL.Path)
	}
	room := a.place(e.h, path, other != nil)
	leave, ok := room.enter()
	if !ok {
		a.Recorder.Count(address, http.StatusServiceUnavailable)
		e.refuse(wire.Unavailable(nil, "too many requests are being served: try again"))
		return
	}
	defer leave()
	if sealed, err := a.Status.Sealed(ctx); sealed {
		a.Recorder.Count(address, http.StatusServiceUnavailable)
		e.refuse(cause(err, wire.Sealed()))
		return
	}
	if room != a.revoking { // a quota never stands in the way of taking access away
		if err := e.limit(path, address); err != nil {
			a.Recorder.Count(address, http.StatusTooManyRequests)
			e.refuse(err)
			return
		}
	}
	actor, err := e.anyone(ctx, path)
	if err != nil {
		a.Recorder.Count(address, fault.Of(err, e.id).Status)
		e.refuse(err)
		return
	}
	if e.tokenless != nil {
		e.req = &request.Request{ID: e.id, Path: path, Operation: request.Attempted(e.h), Actor: lease.Actor{Name: actor, Address: address, RequestID: e.id}}
		e.serve(ctx)
		return
	}
	if err := e.authenticate(ctx, path, address); err != nil {
		w := fault.Of(err, e.id)
		if w.Status == http.StatusForbidden {
			a.Recorder.Denied(ctx, e.req, w.Status)
		} else {
			a.Recorder.Count(address, w.Status)
		}
		e.refuse(err)
		return
	}
	if other != nil {
		e.handOver(ctx, other)
		return
	}
	e.serve(ctx)
}

// anyone finds out whether the request needs no token: because it is for getting
// one, and then a token that comes with it is ignored, or because a wrapping
// token is all that it needs. It says what to call who asks.
func (e *exchange) anyone(ctx context.Context, path string) (actor string, err error) {
	if request.AsksHelp(e.h) {
		return "", nil
	}
	if opener(e.h, path) {
		e.tokenless = func(ctx context.Context, r *request.Request) (*wire.Answer, error) {
			return e.api.unwrap(ctx, r, request.Token(e.h))
		}
		return "wrapping token", nil
	}
	if e.h.Method != http.MethodPut && e.h.Method != http.MethodPost || !strings.HasPrefix(path, "auth/") {
		return "", nil
	}
	login, err := e.api.Auth.IsLogin(ctx, path)
	if login {
		e.tokenless = e.api.logIn
	}
	return "login", err
}

// place is the room that a request takes.
func (a *API) place(h *http.Request, path string, other bool) room {
	switch {
	case other:
		return a.streams
	case (h.Method == http.MethodPut || h.Method == http.MethodPost) && revocation(engine.Write, path):
		return a.revoking
	}
	return a.general
}

// authenticate finds out who asks. The request is set in any case, so that a
// refusal can be recorded.
func (e *exchange) authenticate(ctx context.Context, path, address string) error {
	e.req = &request.Request{Path: path, Operation: request.Attempted(e.h)}
	caller, actor, err := e.api.Tokens.Authenticate(ctx, request.Token(e.h), address, e.id)
	e.req.ID, e.req.Actor, e.req.Caller = e.id, actor, caller
	return err
}

// handOver lets the handler of others answer, once that is on record.
func (e *exchange) handOver(ctx context.Context, other http.Handler) {
	e.req.Operation = engine.Read
	if wrap, err := request.WrapTTL(e.h); wrap > 0 || err != nil {
		e.recordFailure(ctx, wire.Invalid("what is read as a stream cannot be wrapped: ask without X-Vault-Wrap-TTL"))
		return
	}
	if err := e.api.access.Check(ctx, e.req); err != nil {
		e.recordFailure(ctx, err)
		return
	}
	if err := e.api.Recorder.Served(ctx, e.req, http.StatusOK); err != nil {
		e.refuse(unrecorded(err))
		return
	}
	e.wrote = true
	e.log(http.StatusOK, nil)
	control := http.NewResponseController(e.w)
	_, _ = control.SetReadDeadline(time.Time{}), control.SetWriteDeadline(time.Time{}) // a stream may last
	other.ServeHTTP(e.w, e.h)
}

// serve reads the rest of the request, has it handled and recorded, and
// answers.
func (e *exchange) serve(ctx context.Context) {
	answer, err := e.answer(ctx)
	if err != nil {
		e.recordFailure(ctx, err)
		return
	}
	delivered := false
	defer func() {
		if !delivered && answer.Undelivered != nil {
			if err := answer.Undelivered(context.WithoutCancel(ctx)); err != nil {
				e.api.Log.Error().Err(err).Str("request_id", e.id).Msg("what was not delivered is not taken back yet")
			}
		}
	}()
	if !answer.Recorded {
		if err := e.api.Recorder.Served(ctx, e.req, answer.Code()); err != nil {
			if !revocation(e.req.Operation, e.req.Path) {
				e.refuse(unrecorded(err))
				return
			}
			e.api.Log.Error().Err(err).Str("request_id", e.id).Msg("revocation is served without its request on record")
		}
	}
	delivered = e.write(answer)
}

func (e *exchange) answer(ctx context.Context) (*wire.Answer, error) {
	if err := request.Refused(e.h); err != nil {
		return nil, err
	}
	e.h.Body = e.body()
	read, err := request.Read(e.h, e.req.Path)
	read.ID, read.Actor, read.Caller = e.req.ID, e.req.Actor, e.req.Caller
	e.req = read
	if err != nil {
		return nil, err
	}
	_ = http.NewResponseController(e.w).SetReadDeadline(time.Time{})
	if read.WrapTTL, err = e.wrapTTL(); err != nil {
		return nil, err
	}
	handle := e.tokenless
	if handle == nil {
		if err := e.api.access.Check(ctx, read); err != nil {
			return nil, err
		}
		handle = e.api.handle
	}
	answer, err := handle(ctx, read)
	if err != nil {
		return nil, err
	}
	return e.api.wrapped(ctx, read, answer)
}

// wrapTTL is how long the answer is wanted wrapped.
func (e *exchange) wrapTTL() (time.Duration, error) {
	if opens(e.req.Path) {
		return 0, nil
	}
	ttl, err := request.WrapTTL(e.h)
	if err != nil {
		return 0, err
	}
	return ttl, e.api.Wrapping.Check(ttl)
}

// recordFailure records a request that comes to nothing, and says so. What
// failed hands out nothing, so it is said also where it cannot be recorded.
func (e *exchange) recordFailure(ctx context.Context, err error) {
	w := fault.Of(err, e.id)
	if !issuing.Recorded(err) {
		// Whoever has no token must not be able to fill the store with events.
		if w.Status == http.StatusForbidden || e.tokenless != nil {
			e.api.Recorder.Denied(ctx, e.req, w.Status)
		} else if lost := e.api.Recorder.Served(ctx, e.req, w.Status); lost != nil {
			e.api.Recorder.Count(e.req.Actor.Address, w.Status)
			err = errors.Join(err, lost)
		}
	}
	e.refuse(cause(err, w))
}

func unrecorded(err error) error {
	return wire.Unavailable(err, "the request cannot be recorded, so it is refused: try again")
}

// cause keeps err for the log of an answer that does not show it.
func cause(err error, w *wire.Error) error {
	if err != nil && w.Cause == nil && !errors.Is(err, w) {
		w.Cause = err
	}
	return w
}

// refuse answers with an error.
func (e *exchange) refuse(err error) {
	w := fault.Of(err, e.id)
	e.log(w.Status, w.Cause)
	if e.wrote {
		return
	}
	body, err := w.Body()
	if err != nil {
		body = []byte(`{"errors":[]}` + "\n")
	}
	if w.RetryAfter > 0 {
		e.w.Header().Set("Retry-After", strconv.FormatInt(max(1, wire.Seconds(w.RetryAfter)), 10))
	}
	_ = e.send(w.Status, body) // nobody is there to be told
}

// write answers; false: the client does not have it (A8).
func (e *exchange) write(answer *wire.Answer) bool {
	body, err := answer.Body(e.id)
	if err != nil {
		e.refuse(err)
		return false
	}
	// Once anything is written the client may have it all: only before can its
	// going away be trusted.
	if err := e.h.Context().Err(); err != nil && answer.Undelivered != nil {
		e.log(answer.Code(), fmt.Errorf("answer: the client went away: %w", err))
		e.wrote = true
		return false
	}
	if answer.Location != "" {
		e.w.Header().Set("Location", answer.Location)
	}
	err = e.send(answer.Code(), body)
	e.log(answer.Code(), err)
	return err == nil
}

func (e *exchange) send(status int, body []byte) error {
	e.wrote = true
	control := http.NewResponseController(e.w)
	_ = control.SetWriteDeadline(e.api.Clock.Now().Add(e.api.cfg.WriteWithin)) // not every writer can
	e.w.Header().Set("Content-Type", "application/json")
	if len(body) > 0 {
		e.w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	}
	e.w.WriteHeader(status)
	if len(body) > 0 && e.h.Method != http.MethodHead {
		if _, err := bytes.NewReader(body).WriteTo(e.w); err != nil {
			return fmt.Errorf("write answer: %w", err)
		}
	}
	if err := control.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return fmt.Errorf("write answer: %w", err)
	}
	_ = control.SetWriteDeadline(time.Time{}) // it would count for the connection's next answer
	return nil
}

// recover turns a panic into a 500.
func (e *exchange) recover() {
	p := recover()
	if p == nil {
		return
	}
	if p == http.ErrAbortHandler { //nolint:errorlint // a panic's value, compared as net/http does
		panic(p)
	}
	e.refuse(fmt.Errorf("panic: %v\n%s", p, debug.Stack()))
}

func (e *exchange) log(status int, err error) {
	level := zerolog.InfoLevel
	away := errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrUnknown)
	if away || status >= http.StatusInternalServerError && status != http.StatusServiceUnavailable {
		level = zerolog.ErrorLevel
	}
	operation, path, actor := "", e.probe, ""
	if e.probe != "" { // load balancers ask all the time, and the answer may be "no" for long
		level = zerolog.DebugLevel
	}
	if e.req != nil {
		operation, path, actor = string(e.req.Operation), request.Loggable(e.req.Path), e.req.Actor.Name
	}
	e.api.Log.WithLevel(level).Err(err).
		Str("request_id", e.id).Int("status", status).Str("operation", operation).Str("path", path).
		Str("actor", actor).Str("address", request.Address(e.h)).Dur("took", e.api.Clock.Now().Sub(e.started)).
		Msg("request")
}
