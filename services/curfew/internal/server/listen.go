package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log" //nolint:depguard // the one way to reach the lines of http.Server
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/shared/bus/jetstream"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/secret"
)

// Announcement is what a person needs to know once the API answers.
type Announcement struct {
	Address     string // URL of the API
	Initialized bool
	RootToken   secret.Value // in dev mode
	TokenFile   string       // where the first start wrote the root token
	Stream      string       // URL for subscribers; empty: none
	StreamUser  string
	StreamFile  string // file with their password
}

// listen opens the API's address; with TLS unless the configuration says not
// to.
func (s *Server) listen(ctx context.Context) (net.Listener, error) {
	l := s.cfg.Listener
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", l.Address)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	if l.Plain {
		return listener, nil
	}
	pair, err := tls.LoadX509KeyPair(l.CertFile, l.KeyFile)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("load the listener's certificate: %w", err), listener.Close())
	}
	return tls.NewListener(listener, &tls.Config{
		Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"},
	}), nil
}

// serve answers requests until its turn to stop comes.
func (s *Server) serve(ctx context.Context, listener net.Listener) {
	server := s.issuer.Server()
	server.RegisterOnShutdown(func() { // open streams would hold the stop up
		if a := s.audit.Load(); a != nil {
			a.Drain()
		}
	})
	// What clients do wrong below HTTP, such as a broken handshake.
	server.ErrorLog = log.New(debugLog{s.part("api")}, "", 0)
	s.life.run(ctx, "api", func(ctx context.Context) error {
		stopped := make(chan error, 1)
		context.AfterFunc(ctx, func() {
			within, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWithin/3)
			defer cancel()
			err := server.Shutdown(within)
			if errors.Is(err, context.DeadlineExceeded) { // streams and slow clients
				err = server.Close()
			}
			stopped <- err
		})
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return <-stopped
	})
}

// debugLog takes the lines of [http.Server]'s own log.
type debugLog struct{ log zerolog.Logger }

func (d debugLog) Write(line []byte) (int, error) {
	d.log.Debug().Str("error", strings.TrimSpace(string(line))).Msg("connection failed")
	return len(line), nil
}

func (s *Server) announcement(addr net.Addr) Announcement {
	scheme := "https://"
	if s.cfg.Listener.Plain {
		scheme = "http://"
	}
	a := Announcement{Address: scheme + addr.String(), RootToken: s.cfg.DevToken}
	select {
	case <-s.install.ready:
		a.Initialized = true
	default:
	}
	if !s.cfg.Dev && s.cfg.AutoInit {
		a.TokenFile = s.tokenFile()
	}
	if url := s.stream.Load(); url != nil && *url != "" {
		a.Stream, a.StreamUser, a.StreamFile = *url, jetstream.SubscriberUser, s.subscriberFile()
	}
	return a
}

func (s *Server) subscriberFile() string { return filepath.Join(s.cfg.DataDir, "nats-subscriber") }

// subscriberPassword reads or makes the password of the stream's readers.
func (s *Server) subscriberPassword() (secret.Value, error) {
	text, err := os.ReadFile(s.subscriberFile())
	if errors.Is(err, fs.ErrNotExist) {
		text = []byte(lease.RandomBase62(32))
		err = writePrivate(s.subscriberFile(), append(text, '\n'))
	}
	if err != nil {
		return secret.Value{}, fmt.Errorf("password of subscribers: %w", err)
	}
	return secret.New(strings.TrimSpace(string(text))), nil
}
