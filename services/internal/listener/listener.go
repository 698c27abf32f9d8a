// Package listener opens the address of an API, with TLS unless the
// configuration says not to, and serves it until its turn to stop comes.
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
)

// drainWithin is how long open requests may take at a stop; then they are cut.
const drainWithin = 5 * time.Second

// Open listens.
func Open(ctx context.Context, l config.Listener) (net.Listener, error) {
	var lc net.ListenConfig
	opened, err := lc.Listen(ctx, "tcp", l.Address)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	if l.Plain {
		return opened, nil
	}
	pair, err := tls.LoadX509KeyPair(l.CertFile, l.KeyFile)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("load the listener's certificate: %w", err), opened.Close())
	}
	return tls.NewListener(opened, &tls.Config{
		Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"},
	}), nil
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
