package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
)

// remembered bounds how many leases are known to have been reacted to.
const remembered = 10_000

// errNoEvent: the message is not an event of Curfew's.
var errNoEvent = errors.New("not an event")

// reactor runs the command once for each lease that ended.
type reactor struct {
	command []string
	out     io.Writer

	seen map[lease.ID]int64 // version of the last event reacted to
	ring []lease.ID         // the keys of seen; the oldest is at next
	next int
}

func newReactor(command []string, out io.Writer) *reactor {
	return &reactor{command: command, out: out, seen: map[lease.ID]int64{}}
}

// react handles one message. After an error other than errNoEvent it must come
// again.
func (r *reactor) react(ctx context.Context, m jetstream.Msg) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	e, err := event.Decode(event.Headers(m.Headers()), m.Data())
	if err != nil {
		err = fmt.Errorf("%w: %w", errNoEvent, err)
		fmt.Fprintln(r.out, "put aside:", err)
		return err
	}
	d := &e.Data
	if d.Version <= r.seen[d.LeaseID] {
		return nil
	}
	if err := r.run(ctx, e); err != nil {
		fmt.Fprintln(r.out, "will try again:", err)
		return err
	}
	r.remember(d.LeaseID, d.Version)
	fmt.Fprintf(r.out, "%s %s account %s: %s\n", e.Type, d.LeaseID, d.Account, d.Reason)
	return nil
}

func (r *reactor) run(ctx context.Context, e event.Event) error {
	if len(r.command) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, commandTime)
	defer cancel()
	d := &e.Data
	cmd := exec.CommandContext(ctx, r.command[0], r.command[1:]...) //nolint:gosec // the operator's own command
	cmd.WaitDelay = pause                                           // a child of its own may hold its output open
	cmd.Env = append(os.Environ(), "CURFEW_EVENT="+string(e.Type), "CURFEW_LEASE_ID="+string(d.LeaseID),
		"CURFEW_ACCOUNT="+d.Account, "CURFEW_ROLE="+d.Role, "CURFEW_REASON="+d.Reason)
	if said, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("run %s for %s: %w: %s", r.command[0], d.LeaseID, err, said)
	}
	return nil
}

func (r *reactor) remember(id lease.ID, version int64) {
	if _, known := r.seen[id]; !known {
		if len(r.ring) < remembered {
			r.ring = append(r.ring, id)
		} else {
			delete(r.seen, r.ring[r.next])
			r.ring[r.next] = id
			r.next = (r.next + 1) % remembered
		}
	}
	r.seen[id] = version
}
