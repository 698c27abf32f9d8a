package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/curfew-project/curfew/services/internal/listener"
	"github.com/curfew-project/curfew/services/internal/monitor"
	"github.com/curfew-project/curfew/services/internal/unseal"
	"github.com/curfew-project/curfew/shared/bus/jetstream"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/secret"
)

// Announcement is what a person needs to know once the API answers.
type Announcement struct {
	Address     string // URL of the API
	Initialized bool
	Sealed      bool         // it waits for who has the key
	RootToken   secret.Value // in dev mode
	TokenFile   string       // where the first start wrote the root token
	Stream      string       // URL for subscribers; empty: none
	StreamUser  string
	StreamFile  string // file with their password
}

// serve answers requests until its turn to stop comes.
func (s *Server) serve(ctx context.Context, l *listener.Listener) {
	l.Warn(s.log)
	s.monitor.Register(monitor.Certificate(l.Until))
	hangup, release := s.hangups.Watch()
	s.life.OnStop("hangups", func(context.Context) error { release(); return nil })
	s.life.Run(ctx, "certificates", func(ctx context.Context) error { return l.Follow(ctx, s.clock, hangup, s.part("listener")) })
	drain := func() { // open streams would hold the stop up
		if a := s.audit.Load(); a != nil {
			a.Drain()
		}
	}
	s.life.Run(ctx, "api", func(ctx context.Context) error {
		return listener.Serve(ctx, s.issuer.Server(), l, drain, s.part("api"))
	})
}

func (s *Server) announcement(ctx context.Context, addr net.Addr) Announcement {
	a := Announcement{Address: listener.URL(s.cfg.Listener, addr), RootToken: s.cfg.DevToken}
	if state, err := s.install.Status(ctx); err == nil {
		a.Initialized, a.Sealed = state.Initialized, state.Initialized && state.Sealed
	}
	if !s.cfg.Dev && s.cfg.AutoInit {
		a.TokenFile = s.tokenFile()
	}
	if url := s.streamURL(); url != "" {
		a.Stream, a.StreamUser, a.StreamFile = url, jetstream.SubscriberUser, s.subscriberFile()
	}
	return a
}

func (s *Server) subscriberFile() string { return filepath.Join(s.cfg.DataDir, "nats-subscriber") }

// subscriberPassword reads or makes the password of the stream's readers.
func (s *Server) subscriberPassword() (secret.Value, error) {
	text, err := os.ReadFile(s.subscriberFile())
	if errors.Is(err, fs.ErrNotExist) {
		text = []byte(lease.RandomBase62(32))
		err = unseal.WritePrivate(s.subscriberFile(), append(text, '\n'))
	}
	if err != nil {
		return secret.Value{}, fmt.Errorf("password of subscribers: %w", err)
	}
	return secret.New(strings.TrimSpace(string(text))), nil
}
