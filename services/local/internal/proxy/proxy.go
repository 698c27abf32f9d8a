// Package proxy spreads clients over issuers, as a load balancer before them
// does: each request goes to the next one that is healthy; one that cannot be
// reached is passed over, before anything was sent to it. What was sent and not
// answered is the client's to repeat: 502.
//
// It is for one machine: it has no TLS and trusts nobody's headers.
package proxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/step"
)

const (
	// maxBody is what is kept of a request to send it to another issuer; the
	// API takes no more.
	maxBody    = 1 << 20
	askEvery   = 500 * time.Millisecond
	askWithin  = 2 * time.Second
	healthPath = "/v1/sys/health"
)

// Proxy is a handler, and a step that asks the issuers how they are.
type Proxy struct {
	issuers []*issuer
	turn    atomic.Uint64
	next    http.RoundTripper
	proxy   *httputil.ReverseProxy
}

type issuer struct {
	url  *url.URL
	down atomic.Bool
}

// New returns a proxy to issuers at the given URLs.
func New(urls []string, log zerolog.Logger) (*Proxy, error) {
	if len(urls) == 0 {
		return nil, errors.New("proxy: no issuer is named")
	}
	p := &Proxy{next: &http.Transport{
		DialContext:         (&net.Dialer{Timeout: askWithin}).DialContext,
		MaxIdleConnsPerHost: 256, IdleConnTimeout: time.Minute,
	}}
	for _, text := range urls {
		u, err := url.Parse(text)
		if err != nil || u.Host == "" {
			return nil, fmt.Errorf("proxy: %q is no URL of an issuer", text)
		}
		p.issuers = append(p.issuers, &issuer{url: u})
	}
	p.proxy = &httputil.ReverseProxy{
		Transport: p, FlushInterval: -1,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetXForwarded()
			r.Out.URL.Scheme, r.Out.URL.Host = p.issuers[0].url.Scheme, p.issuers[0].url.Host
			r.Out.Host = r.In.Host
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			log.Warn().Err(err).Str("method", r.Method).Msg("no answer from an issuer")
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusBadGateway)
			_, _ = w.Write([]byte(`{"errors":["no issuer answered"]}` + "\n")) // who asked may be gone
		},
	}
	return p, nil
}

// ServeHTTP implements [http.Handler].
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	if err != nil {
		return // the client broke off
	}
	if len(body) > maxBody { // an issuer refuses it better than we could
		r.Body = struct {
			io.Reader
			io.Closer
		}{io.MultiReader(bytes.NewReader(body), r.Body), r.Body}
	} else {
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	}
	p.proxy.ServeHTTP(w, r)
}

// RoundTrip implements [http.RoundTripper]: healthy issuers first, in turn.
func (p *Proxy) RoundTrip(r *http.Request) (*http.Response, error) {
	var errs error
	first := p.turn.Add(1)
	for _, alsoDown := range []bool{false, true} {
		for i := range p.issuers {
			to := p.issuers[(first+uint64(i))%uint64(len(p.issuers))]
			if to.down.Load() != alsoDown {
				continue
			}
			res, err := p.send(r, to)
			if err == nil {
				to.down.Store(false)
				return res, nil
			}
			errs = errors.Join(errs, err)
			var dialed *net.OpError
			if !errors.As(err, &dialed) || dialed.Op != "dial" || r.Body != nil && r.GetBody == nil {
				return nil, errs // it may have been received
			}
			to.down.Store(true)
		}
	}
	return nil, errs
}

func (p *Proxy) send(r *http.Request, to *issuer) (*http.Response, error) {
	out := r.Clone(r.Context())
	out.URL.Scheme, out.URL.Host = to.url.Scheme, to.url.Host
	if r.GetBody != nil {
		body, err := r.GetBody()
		if err != nil {
			return nil, err
		}
		out.Body, out.GetBody = body, nil
	}
	if out.Body == nil {
		// The transport sends a GET that it can repeat again by itself, where a
		// connection ends without an answer: here that would issue twice.
		out.Body = io.NopCloser(strings.NewReader(""))
	}
	return p.next.RoundTrip(out)
}

// Name implements [step.Step].
func (p *Proxy) Name() string { return "health" }

// Do implements [step.Step].
func (p *Proxy) Do(ctx context.Context) (time.Duration, error) {
	for _, to := range p.issuers {
		to.down.Store(!p.healthy(ctx, to))
	}
	return askEvery, nil
}

func (p *Proxy) healthy(ctx context.Context, to *issuer) bool {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, to.url.JoinPath(healthPath).String(), nil)
	if err != nil {
		return false
	}
	res, err := p.next.RoundTrip(req)
	if err != nil {
		return false
	}
	_ = res.Body.Close() // nothing of it is read
	return res.StatusCode == http.StatusOK
}

// Serve answers at address until ctx ends.
func (p *Proxy) Serve(ctx context.Context, address string, c clock.Clock, log zerolog.Logger) error {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("proxy: listen: %w", err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	s := &http.Server{Handler: p, ReadHeaderTimeout: 10 * time.Second}
	context.AfterFunc(ctx, func() { _ = s.Close() })
	asked := make(chan error, 1)
	go func() { asked <- step.New(c, log, step.Config{}, p).Run(ctx) }()
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		cancel(err)
	}
	return errors.Join(context.Cause(ctx), <-asked)
}

var (
	_ http.Handler      = (*Proxy)(nil)
	_ http.RoundTripper = (*Proxy)(nil)
	_ step.Step         = (*Proxy)(nil)
)
