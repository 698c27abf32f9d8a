package relay

import (
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
)

// Purpose is what the key is derived for.
const Purpose = "issuer reads the record"

// headWithin is how long an auditor may take to begin its answer: a search waits
// up to 2 s for the catalogue and then reads. One that hangs is passed over.
const headWithin = 15 * time.Second

// header bears the key.
const header = "X-Curfew-Relay"

// Guard lets requests with the key through to next.
func Guard(key []byte, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		given, err := hex.DecodeString(r.Header.Get(header))
		if err != nil || subtle.ConstantTimeCompare(given, key) != 1 {
			refuse(w, http.StatusUnauthorized, "the record is read through an issuer")
			return
		}
		r.Header.Del(header)
		next.ServeHTTP(w, r)
	})
}

// To passes requests on to auditors at the given URLs. transport is theirs.
func To(auditors []string, key []byte, transport http.RoundTripper, log zerolog.Logger) (http.Handler, error) {
	if len(auditors) == 0 {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			refuse(w, http.StatusServiceUnavailable, "this issuer knows no auditor: its configuration needs audit { urls = [...] }")
		}), nil
	}
	t := &turn{next: transport}
	for _, a := range auditors {
		u, err := url.Parse(a)
		if err != nil {
			return nil, fmt.Errorf("URL of an auditor: %w", err)
		}
		t.auditors = append(t.auditors, u)
	}
	text := hex.EncodeToString(key)
	return &httputil.ReverseProxy{
		Transport:     t,
		FlushInterval: -1, // streams
		Rewrite: func(r *httputil.ProxyRequest) {
			for _, private := range []string{"X-Vault-Token", "Authorization", "Cookie"} {
				r.Out.Header.Del(private)
			}
			r.Out.Header.Set(header, text)
			r.Out.URL.Scheme, r.Out.URL.Host = t.auditors[0].Scheme, t.auditors[0].Host
		},
		ModifyResponse: func(res *http.Response) error {
			if res.StatusCode == http.StatusUnauthorized {
				return errors.New("the auditor does not know this installation: key files differ")
			}
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if r.Context().Err() != nil {
				return // the reader has gone
			}
			log.Warn().Err(err).Msg("the record could not be read")
			w.Header().Set("Retry-After", "1")
			refuse(w, http.StatusServiceUnavailable, "no auditor answers")
		},
	}, nil
}

// turn tries one auditor after the other, beginning with the one that answered
// last: it has the reader's place in its caches.
type turn struct {
	auditors []*url.URL
	next     http.RoundTripper
	last     atomic.Int64
}

// RoundTrip implements [http.RoundTripper]. Reading has no body: a request can be
// sent again.
func (t *turn) RoundTrip(r *http.Request) (*http.Response, error) {
	var errs error
	first := int(t.last.Load())
	for i := range t.auditors {
		at := (first + i) % len(t.auditors)
		out := r.Clone(r.Context())
		out.URL.Scheme, out.URL.Host, out.Host = t.auditors[at].Scheme, t.auditors[at].Host, ""
		res, err := t.next.RoundTrip(out)
		if err == nil {
			t.last.Store(int64(at))
			return res, nil
		}
		errs = errors.Join(errs, err)
		if r.Context().Err() != nil || r.Body != nil && r.Body != http.NoBody {
			break
		}
	}
	return nil, errs
}

// refuse answers in the API's error shape.
func refuse(w http.ResponseWriter, code int, why string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(map[string][]string{"errors": {why}}) // who asked may be gone
}

// Transport reaches auditors; caFile, if set, holds the certificates that theirs
// are signed with.
func Transport(caFile string) (http.RoundTripper, error) {
	t := &http.Transport{
		DialContext:         (&net.Dialer{Timeout: 2 * time.Second}).DialContext,
		TLSHandshakeTimeout: 5 * time.Second, ResponseHeaderTimeout: headWithin,
		IdleConnTimeout: time.Minute, MaxIdleConnsPerHost: 16,
	}
	if caFile == "" {
		return t, nil
	}
	pem, err := os.ReadFile(caFile) //nolint:gosec // the operator names the file
	if err != nil {
		return nil, fmt.Errorf("certificates of the auditors: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("certificates of the auditors: %s holds none", caFile)
	}
	t.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	return t, nil
}
