// Package stream runs a NATS server with JetStream in this process, alone or as
// one of a cluster, for the local topology. It listens on loopback addresses
// and lets everyone in who reaches them.
package stream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
)

// Config describes a server.
type Config struct {
	Name    string
	Listen  string // host:port for clients
	Dir     string // of its streams
	Cluster string // host:port for its peers; empty: no cluster
	Routes  string // URLs of all peers, separated by commas
}

const readyWithin = 30 * time.Second

// Run serves until ctx ends.
func Run(ctx context.Context, cfg Config) error {
	opts := &natsserver.Options{
		ServerName: cfg.Name, JetStream: true, StoreDir: cfg.Dir, NoSigs: true,
		JetStreamMaxStore: 4 << 30,
	}
	var err error
	if opts.Host, opts.Port, err = split(cfg.Listen); err != nil {
		return err
	}
	if cfg.Cluster != "" {
		opts.Cluster.Name = "curfew"
		if opts.Cluster.Host, opts.Cluster.Port, err = split(cfg.Cluster); err != nil {
			return err
		}
		for text := range strings.SplitSeq(cfg.Routes, ",") {
			u, err := url.Parse(text)
			if err != nil {
				return fmt.Errorf("route of nats: %w", err)
			}
			opts.Routes = append(opts.Routes, u)
		}
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return fmt.Errorf("make the folder of nats: %w", err)
	}
	s, err := natsserver.NewServer(opts)
	if err != nil {
		return fmt.Errorf("start nats: %w", err)
	}
	s.ConfigureLogger()
	s.Start()
	defer s.WaitForShutdown()
	defer s.Shutdown()
	if !s.ReadyForConnections(readyWithin) {
		return errors.New("start nats: it takes no connections")
	}
	<-ctx.Done()
	return nil
}

func split(address string) (string, int, error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, fmt.Errorf("address of nats: %w", err)
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		return "", 0, fmt.Errorf("address of nats: %w", err)
	}
	return host, port, nil
}
