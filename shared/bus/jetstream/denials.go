package jetstream

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"
)

// ErrDenied says that the user lacks a permission; the text names the subject.
// See the package comment for what each program needs.
var ErrDenied = errors.New("nats permission missing")

const mostDenied = 32

// violation matches the server's words; it has no code for this.
var violation = regexp.MustCompile(`(Publish|Subscription) to "([^"]+)"`)

// denials brings the server's refusals to those who wait. The server answers a
// request without permission only by a message on the connection, so that the
// request itself would wait in vain until its deadline.
type denials struct {
	mu      sync.Mutex
	waiting map[*waiter]struct{}
	seen    []string
}

type waiter struct {
	prefix string
	cancel context.CancelCauseFunc
}

// guard returns a context that ends when publishing to a subject that begins
// with prefix is refused. Its cause is then [ErrDenied].
func (d *denials) guard(ctx context.Context, prefix string) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	w := &waiter{prefix: prefix, cancel: cancel}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.waiting == nil {
		d.waiting = map[*waiter]struct{}{}
	}
	d.waiting[w] = struct{}{}
	return ctx, func() {
		cancel(nil)
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.waiting, w)
	}
}

// hear takes an error of the connection.
func (d *denials) hear(err error) {
	if !errors.Is(err, nats.ErrPermissionViolation) {
		return
	}
	parts := violation.FindStringSubmatch(err.Error())
	if parts == nil {
		return
	}
	act, subject := strings.ToLower(parts[1]), parts[2]
	why := fmt.Errorf("%w: %s to %s", ErrDenied, act, subject)
	d.mu.Lock()
	defer d.mu.Unlock()
	if line := act + " to " + subject; len(d.seen) < mostDenied && !slices.Contains(d.seen, line) {
		d.seen = append(d.seen, line)
	}
	for w := range d.waiting {
		if act == "publish" && strings.HasPrefix(subject, w.prefix) {
			w.cancel(why)
		}
	}
}

// all lists what was refused since the start.
func (d *denials) all() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.seen)
}

// ask calls an operation of the JetStream API whose subject begins with
// $JS.API.<name>, and says at once when it is not permitted.
func (b *Bus) ask(ctx context.Context, name string, call func(context.Context) error) error {
	if err := b.Disconnected(); err != nil {
		return err // a request would wait for its deadline
	}
	bounded, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	guarded, release := b.denials.guard(bounded, "$JS.API."+name)
	defer release()
	err := call(guarded)
	if why := context.Cause(guarded); err != nil && errors.Is(why, ErrDenied) {
		return why
	}
	return told(err)
}
