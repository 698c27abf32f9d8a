package jetstream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/secret"
)

const (
	ownUser = "curfew"
	// SubscriberUser may read events over the network.
	SubscriberUser = "subscriber"
)

// EmbedConfig is the server inside the process.
type EmbedConfig struct {
	Config
	Dir string // of the stream's files
	// Listen is host:port for subscribers; empty: no network at all. Port 0
	// takes a free one.
	Listen string
	// Subscriber is the password of [SubscriberUser]; needed with Listen.
	Subscriber secret.Value
}

// Embed starts a server in the process and connects to it without a network.
// Where the stream cannot be made, as on a full disk, that is no error (promise 6):
// it is tried again with each publish. It returns the bus and the URL that subscribers use, empty without Listen.
func Embed(ctx context.Context, cfg EmbedConfig) (*Bus, string, error) {
	cfg.defaults()
	if err := cfg.validate(); err != nil {
		return nil, "", fmt.Errorf("start nats: %w", err)
	}
	own := lease.RandomBase62(32)
	opts, err := cfg.options(own)
	if err != nil {
		return nil, "", err
	}
	in := &inside{opts: opts}
	if err := in.start(ctx); err != nil {
		return nil, "", err
	}
	w := &wiring{}
	nc, err := nats.Connect("", append(options(w, cfg.Client.Program), nats.InProcessServer(in), nats.UserInfo(ownUser, own))...)
	if err != nil {
		in.stop()
		return nil, "", fmt.Errorf("connect to nats in process: %w", err)
	}
	b, err := open(nc, w, cfg.Config, in.stop)
	if err != nil {
		nc.Close()
		in.stop()
		return nil, "", err
	}
	b.inside, b.marker = in, newMarker(cfg.Dir, cfg.Source)
	_ = b.ensureStream(ctx, true) // kept for Check; whoever needs the stream tries again
	if cfg.Listen == "" {
		return b, "", nil
	}
	return b, "nats://" + in.address, nil
}

func (cfg EmbedConfig) options(own string) (*server.Options, error) {
	opts := &server.Options{
		ServerName: "curfew", JetStream: true, StoreDir: cfg.Dir, DontListen: cfg.Listen == "",
		NoLog: true, NoSigs: true, MaxPayload: 1 << 20,
		Users: []*server.User{{Username: ownUser, Password: own}},
	}
	// By default the server takes three quarters of what is free on the disk at
	// its start, and then refuses a stream that is larger: a copy must not keep
	// the rest from starting.
	opts.JetStreamMaxStore = 2 * cfg.MaxBytes
	if cfg.Listen == "" {
		return opts, nil
	}
	if cfg.Subscriber.Empty() {
		return nil, errors.New("start nats: listening needs a password for subscribers")
	}
	host, port, err := net.SplitHostPort(cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("start nats: listen address: %w", err)
	}
	opts.Host = host
	if opts.Port, err = strconv.Atoi(port); err != nil {
		return nil, fmt.Errorf("start nats: listen address: %w", err)
	}
	if opts.Port == 0 {
		opts.Port = server.RANDOM_PORT
	}
	opts.Users = append(opts.Users, &server.User{
		Username: SubscriberUser, Password: cfg.Subscriber.Reveal(),
		Permissions: &server.Permissions{
			Publish: &server.SubjectPermission{Allow: []string{
				"$JS.API.INFO", "$JS.API.STREAM.INFO." + StreamName, "$JS.API.STREAM.NAMES",
				"$JS.API.CONSUMER.*." + StreamName + ".>", "$JS.API.CONSUMER.MSG.NEXT." + StreamName + ".>",
				"$JS.ACK." + StreamName + ".>",
			}},
			Subscribe: &server.SubjectPermission{Allow: []string{"curfew.>", "_INBOX.>"}},
		},
	})
	return opts, nil
}
