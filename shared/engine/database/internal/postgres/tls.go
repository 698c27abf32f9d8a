package postgres

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// The values of sslmode that check something.
const (
	modeRequire    = "require"
	modeVerifyCA   = "verify-ca"
	modeVerifyFull = "verify-full"
)

// sslMode returns the URL with sslmode spelled out, and its value. Nothing is
// left to the environment of the process.
func sslMode(url string, t TLS) (text, mode string, err error) {
	isURL := strings.HasPrefix(url, "postgres://") || strings.HasPrefix(url, "postgresql://")
	pattern := `(?:^|\s)sslmode\s*=\s*'?([^\s']*)`
	if isURL {
		pattern = `[?&]sslmode=([^&#]*)`
	}
	if m := regexp.MustCompile(pattern).FindStringSubmatch(url); m != nil {
		mode = m[1]
		if t.CA != "" && mode != modeRequire && mode != modeVerifyCA && mode != modeVerifyFull {
			return "", "", fmt.Errorf("sslmode=%s checks no certificate, but a CA is given: use sslmode=verify-full", mode)
		}
		return url, mode, nil
	}
	mode = "prefer"
	if t.CA != "" {
		mode = modeVerifyFull
	}
	switch {
	case !isURL:
		return url + " sslmode=" + mode, mode, nil
	case strings.Contains(url, "?"):
		return url + "&sslmode=" + mode, mode, nil
	default:
		return url + "?sslmode=" + mode, mode, nil
	}
}

// apply puts the PEM blocks into a configuration and all its fallbacks.
func (t TLS) apply(c *pgconn.Config, mode string) error {
	var pool *x509.CertPool
	if t.CA != "" {
		pool = x509.NewCertPool()
		if !pool.AppendCertsFromPEM([]byte(t.CA)) {
			return errors.New("the CA of the connection (tls_ca) holds no PEM certificate")
		}
	}
	var certificates []tls.Certificate
	if t.Certificate != "" || !t.Key.Empty() {
		pair, err := tls.X509KeyPair([]byte(t.Certificate), []byte(t.Key.Reveal()))
		if err != nil {
			// The library's text names blocks and types, never key material.
			return fmt.Errorf("the client certificate of the connection (tls_certificate, private_key): %w", err)
		}
		certificates = append(certificates, pair)
	}
	configs := []*tls.Config{c.TLSConfig}
	for _, f := range c.Fallbacks {
		configs = append(configs, f.TLSConfig)
	}
	for _, config := range configs {
		if config == nil {
			continue
		}
		config.MinVersion = tls.VersionTLS12
		if len(certificates) > 0 {
			config.Certificates = certificates
		}
		if pool != nil {
			trust(config, pool, mode)
		}
	}
	return nil
}

// trust makes a configuration check the chain against pool, and with
// verify-full the host too.
func trust(config *tls.Config, pool *x509.CertPool, mode string) {
	config.RootCAs = pool
	if mode == modeVerifyFull {
		return
	}
	config.InsecureSkipVerify = true // the chain is verified below; the host is not, as verify-ca says
	config.VerifyPeerCertificate = nil
	config.VerifyConnection = func(state tls.ConnectionState) error {
		options := x509.VerifyOptions{Roots: pool, Intermediates: x509.NewCertPool()}
		for _, c := range state.PeerCertificates[1:] {
			options.Intermediates.AddCert(c)
		}
		_, err := state.PeerCertificates[0].Verify(options)
		return err
	}
}

// tlsAdvice says what is wrong about TLS and what to do, or "" if err is about
// something else.
func tlsAdvice(err error, mode string) string {
	var (
		authority x509.UnknownAuthorityError
		host      x509.HostnameError
		cert      x509.CertificateInvalidError
		alert     tls.AlertError
		record    tls.RecordHeaderError
		pg        *pgconn.PgError
	)
	switch {
	case errors.As(err, &host):
		return "TLS: the server's certificate is not for this host: connect under a name that it has, or use sslmode=verify-ca with the CA of the server in tls_ca"
	case errors.As(err, &cert):
		return "TLS: the server's certificate is not valid (expired, or not for servers): renew it"
	case errors.As(err, &authority):
		return "TLS: the server's certificate is not signed by a trusted CA: give the CA that signed it in tls_ca"
	case errors.As(err, &alert), errors.As(err, &record):
		return "TLS: the handshake failed: check versions of TLS, and the client certificate in tls_certificate and private_key"
	case strings.Contains(err.Error(), "server refused TLS connection"):
		return "TLS: the server does not offer TLS but sslmode=" + mode + " demands it: switch ssl on at the server, or use sslmode=disable on a network you trust"
	}
	if !errors.As(err, &pg) || pg.Code != codeInvalidAuthorization {
		return ""
	}
	switch {
	case strings.Contains(pg.Message, "client certificate"), strings.Contains(pg.Message, "certificate authentication failed"):
		return "TLS: the server asks for a client certificate of this user: give it in tls_certificate and private_key"
	case strings.Contains(pg.Message, "no encryption"), strings.Contains(pg.Message, "SSL off"):
		return "TLS: the server takes only encrypted connections for this user (hostssl), and sslmode=" + mode + " did not use TLS: use sslmode=verify-full with the CA of the server in tls_ca"
	}
	return ""
}
