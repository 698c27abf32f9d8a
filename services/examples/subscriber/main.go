// Command subscriber is a small example of a program that reacts to
// revocations: it follows the event stream and, for each lease that ended,
// prints a line and runs a command, for instance one that makes a connection
// pool let go of its old credential.
//
//	subscriber -nats nats://127.0.0.1:4222 -password-file data/nats-subscriber -- ./reload-pool
//
// Events come at least once; versions count per lease, so an event with a
// version that is not higher than the last one seen for its lease is ignored.
// The command finds CURFEW_LEASE_ID, CURFEW_ACCOUNT, CURFEW_ROLE and
// CURFEW_REASON in its environment. An event is acknowledged after the command
// has succeeded; one that fails comes again.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "subscriber:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("subscriber", flag.ContinueOnError)
	url := flags.String("nats", nats.DefaultURL, "URL of the stream's server")
	user := flags.String("user", "subscriber", "user name")
	passwordFile := flags.String("password-file", "", "file that holds the password")
	name := flags.String("name", "example", "name under which the place in the stream is kept")
	if err := flags.Parse(args); err != nil {
		return err
	}
	password, err := os.ReadFile(*passwordFile)
	if err != nil {
		return fmt.Errorf("read the password: %w", err)
	}
	nc, err := nats.Connect(*url, nats.UserInfo(*user, strings.TrimSpace(string(password))), nats.MaxReconnects(-1))
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return fmt.Errorf("open the stream: %w", err)
	}
	consumer, err := js.CreateOrUpdateConsumer(ctx, "CURFEW_EVENTS", jetstream.ConsumerConfig{
		Durable: *name, AckPolicy: jetstream.AckExplicitPolicy, AckWait: time.Minute,
		FilterSubjects: []string{"curfew.event.lease.revoked.>", "curfew.event.lease.expired.>"},
	})
	if err != nil {
		return fmt.Errorf("make a consumer: %w", err)
	}
	messages, err := consumer.Messages()
	if err != nil {
		return fmt.Errorf("read the stream: %w", err)
	}
	defer messages.Stop()
	r := &reactor{command: flags.Args(), out: out, seen: map[lease.ID]int64{}}
	for {
		m, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return err
		}
		if err := r.react(ctx, m); err != nil {
			fmt.Fprintln(out, "will try again:", err)
			_ = m.NakWithDelay(time.Second)
			continue
		}
		_ = m.Ack() // a lost acknowledgement brings the event again: its version is known
	}
}

type reactor struct {
	command []string
	out     io.Writer
	seen    map[lease.ID]int64
}

func (r *reactor) react(ctx context.Context, m jetstream.Msg) error {
	e, err := event.Decode(event.Headers(m.Headers()), m.Data())
	if err != nil {
		return err
	}
	d := &e.Data
	if d.Version <= r.seen[d.LeaseID] {
		return nil
	}
	fmt.Fprintf(r.out, "%s %s account %s: %s\n", e.Type, d.LeaseID, d.Account, d.Reason)
	if len(r.command) > 0 {
		cmd := exec.CommandContext(ctx, r.command[0], r.command[1:]...) //nolint:gosec // the operator's own command
		cmd.Env = append(os.Environ(), "CURFEW_LEASE_ID="+string(d.LeaseID), "CURFEW_ACCOUNT="+d.Account,
			"CURFEW_ROLE="+d.Role, "CURFEW_REASON="+d.Reason)
		if said, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("run %s: %w: %s", r.command[0], err, said)
		}
	}
	r.seen[d.LeaseID] = d.Version
	return nil
}
