package listener

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log" //nolint:depguard // the one way to reach the lines of http.Server
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/services/internal/config"
	"github.com/curfew-project/curfew/shared/clock"
)

// drainWithin is how long open requests may take at a stop; then they are cut.
const drainWithin = 5 * time.Second

// Listener is an open address.
type Listener struct {
	net.Listener
	certificates *certificates // nil: plain text
}

// Open listens.
func Open(ctx context.Context, l config.Listener) (*Listener, error) {
	var c *certificates
	if !l.Plain {
		c = &certificates{from: l}
		if _, err := c.load(); err != nil {
			return nil, err
		}
	}
	var lc net.ListenConfig
	opened, err := lc.Listen(ctx, "tcp", l.Address)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	if c == nil {
		return &Listener{Listener: opened}, nil
	}
	return &Listener{tls.NewListener(opened, c.outer()), c}, nil
}

// Check finds out whether what the configuration names can be used, without
// listening.
func Check(l config.Listener) error {
	if l.Plain {
		return nil
	}
	_, err := (&certificates{from: l}).load()
	return err
}

// Exposed reports whether what is said at the address can be read by others on
// the way: plain text beyond this machine.
func (l *Listener) Exposed() bool {
	at, ok := l.Addr().(*net.TCPAddr)
	return l.certificates == nil && (!ok || !at.IP.IsLoopback())
}

// Until is when the certificate ends that clients are shown; the zero time:
// there is none.
func (l *Listener) Until() time.Time {
	if l.certificates == nil {
		return time.Time{}
	}
	return l.certificates.current.Load().Certificates[0].Leaf.NotAfter
}

// Warn says so.
func (l *Listener) Warn(log zerolog.Logger) {
	if l.Exposed() {
		log.Warn().Str("address", l.Addr().String()).
			Msg("WARNING: plain HTTP beyond this machine: tokens and passwords can be read on the way; set tls_cert_file and tls_key_file")
	}
}

// Follow takes up changed files until ctx ends; hangup asks for it at once.
func (l *Listener) Follow(ctx context.Context, c clock.Clock, hangup <-chan struct{}, log zerolog.Logger) error {
	if l.certificates == nil {
		<-ctx.Done()
		return nil
	}
	return l.certificates.follow(ctx, c, hangup, log)
}

// URL is where clients reach what listens at addr.
func URL(l config.Listener, addr net.Addr) string {
	if l.Plain {
		return "http://" + addr.String()
	}
	return "https://" + addr.String()
}

// Serve answers requests until ctx ends; drain is then called to end streams,
// which would hold the stop up.
func Serve(ctx context.Context, s *http.Server, l net.Listener, drain func(), events zerolog.Logger) error {
	s.RegisterOnShutdown(drain)
	// What clients do wrong below HTTP, such as a broken handshake.
	s.ErrorLog = log.New(debugLog{events}, "", 0)
	stopped := make(chan error, 1)
	release := context.AfterFunc(ctx, func() {
		within, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainWithin)
		defer cancel()
		err := s.Shutdown(within)
		if errors.Is(err, context.DeadlineExceeded) { // streams and slow clients
			err = s.Close()
		}
		stopped <- err
	})
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		release()
		return err
	}
	return <-stopped
}

// debugLog takes the lines of [http.Server]'s own log.
type debugLog struct{ log zerolog.Logger }

func (d debugLog) Write(line []byte) (int, error) {
	d.log.Debug().Str("error", strings.TrimSpace(string(line))).Msg("connection failed")
	return len(line), nil
}
