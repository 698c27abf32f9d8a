package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// ackWait is when the stream gives up on us; the command has to be done
	// before, or the event would come again while it still runs.
	ackWait     = time.Minute
	commandTime = ackWait / 2
	pause       = time.Second
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "subscriber:", err)
		os.Exit(1)
	}
}

// run follows the stream until ctx ends, which is no error.
func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("subscriber", flag.ContinueOnError)
	url := flags.String("nats", nats.DefaultURL, "URL of the stream's server")
	user := flags.String("user", "subscriber", "user name")
	passwordFile := flags.String("password-file", "", "file that holds the password (<data_dir>/nats-subscriber)")
	name := flags.String("name", "example", "name under which the place in the stream is kept")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *passwordFile == "" {
		return errors.New("-password-file is needed")
	}
	password, err := os.ReadFile(*passwordFile)
	if err != nil {
		return fmt.Errorf("read the password: %w", err)
	}
	nc, err := nats.Connect(*url, nats.UserInfo(*user, strings.TrimSpace(string(password))), nats.MaxReconnects(-1))
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer func() {
		_ = nc.FlushTimeout(pause) // the server may be away
		nc.Close()
	}()
	js, err := jetstream.New(nc)
	if err != nil {
		return fmt.Errorf("open the stream: %w", err)
	}
	r := newReactor(flags.Args(), out)
	for {
		err := follow(ctx, js, *name, r)
		if ctx.Err() != nil {
			return nil
		}
		fmt.Fprintln(out, "will try again:", err)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil
		}
	}
}

// follow reads the stream until it breaks off or ctx ends.
func follow(ctx context.Context, js jetstream.JetStream, name string, r *reactor) error {
	consumer, err := js.CreateOrUpdateConsumer(ctx, "CURFEW_EVENTS", jetstream.ConsumerConfig{
		Durable: name, AckPolicy: jetstream.AckExplicitPolicy, AckWait: ackWait,
		FilterSubjects: []string{"curfew.event.lease.revoked.>", "curfew.event.lease.expired.>"},
	})
	if err != nil {
		return fmt.Errorf("make a consumer: %w", err)
	}
	broken := make(chan error, 1)
	report := func(err error) {
		select {
		case broken <- err:
		default: // the first is enough to begin anew
		}
	}
	reading, err := consumer.Consume(func(m jetstream.Msg) {
		if err := answer(m, r.react(ctx, m)); err != nil {
			report(err)
		}
	},
		jetstream.PullMaxMessages(1), // what waits here counts against ackWait, too
		jetstream.PullExpiry(10*time.Second), jetstream.PullHeartbeat(2*time.Second),
		jetstream.ConsumeErrHandler(func(_ jetstream.ConsumeContext, err error) { report(err) }))
	if err != nil {
		return fmt.Errorf("read the stream: %w", err)
	}
	select {
	case err = <-broken:
		err = fmt.Errorf("read the stream: %w", err)
	case <-ctx.Done():
	}
	// Hand back what was sent to us meanwhile; left unanswered, it would come
	// again only after ackWait.
	reading.Drain()
	select {
	case <-reading.Closed():
	case <-time.After(pause):
	}
	return err
}

// answer tells the stream what became of m. A lost acknowledgement brings the
// event again, and its version is known.
func answer(m jetstream.Msg, outcome error) error {
	var err error
	switch {
	case outcome == nil:
		err = m.Ack()
	case errors.Is(outcome, errNoEvent):
		err = m.Term()
	case errors.Is(outcome, context.Canceled): // we stop
		err = m.Nak()
	default:
		err = m.NakWithDelay(pause)
	}
	if err != nil {
		return fmt.Errorf("answer the stream: %w", err)
	}
	return nil
}
