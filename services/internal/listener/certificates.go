package listener

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/services/internal/config"
	"github.com/curfew-project/curfew/shared/clock"
)

// lookEvery is how often the files are read to see whether they changed. By
// their bytes: some tools exchange a link above them, which no time of the file
// tells of.
const lookEvery = 5 * time.Second

// certificates are what the listener shows, and asks for.
type certificates struct {
	from    config.Listener
	current atomic.Pointer[tls.Config]
	seen    [sha256.Size]byte // of the bytes that were tried last
}

// outer is the configuration that hands each connection the current one.
func (c *certificates) outer() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"h2", "http/1.1"},
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			return c.current.Load(), nil
		},
	}
}

// load reads the files and puts them in force, if they are not those that were
// tried last. After an error the old ones are in force.
func (c *certificates) load() (changed bool, err error) {
	cert, err := os.ReadFile(c.from.CertFile)
	if err != nil {
		return c.failed(fmt.Errorf("read tls_cert_file: %w", err))
	}
	key, err := os.ReadFile(c.from.KeyFile)
	if err != nil {
		return c.failed(fmt.Errorf("read tls_key_file: %w", err))
	}
	var ca []byte
	if c.from.ClientCAFile != "" {
		if ca, err = os.ReadFile(c.from.ClientCAFile); err != nil {
			return c.failed(fmt.Errorf("read tls_client_ca_file: %w", err))
		}
	}
	sum := sha256.Sum256(bytes.Join([][]byte{cert, key, ca}, []byte{0}))
	if sum == c.seen {
		return false, nil
	}
	c.seen = sum
	now, err := c.parse(cert, key, ca)
	if err != nil {
		return true, err
	}
	c.current.Store(now)
	return true, nil
}

// failed is an error that is told once.
func (c *certificates) failed(err error) (changed bool, _ error) {
	sum := sha256.Sum256([]byte(err.Error()))
	changed, c.seen = sum != c.seen, sum
	return changed, err
}

func (c *certificates) parse(cert, key, ca []byte) (*tls.Config, error) {
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("use tls_cert_file %s with tls_key_file %s: %w", c.from.CertFile, c.from.KeyFile, err)
	}
	t := &tls.Config{
		Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"},
	}
	if c.from.MinVersion == "tls13" {
		t.MinVersion = tls.VersionTLS13
	}
	if ca == nil {
		return t, nil
	}
	t.ClientCAs = x509.NewCertPool()
	if !t.ClientCAs.AppendCertsFromPEM(ca) {
		return nil, fmt.Errorf("use tls_client_ca_file %s: it holds no certificate", c.from.ClientCAFile)
	}
	t.ClientAuth = tls.VerifyClientCertIfGiven
	if c.from.RequireClientCert {
		t.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return t, nil
}

// follow loads the files when they change, and says so.
func (c *certificates) follow(ctx context.Context, k clock.Clock, hangup <-chan struct{}, log zerolog.Logger) error {
	c.say(log, k.Now(), "certificate of the listener")
	for {
		tick, stop := k.Timer(lookEvery)
		asked := false
		select {
		case <-tick:
		case <-hangup:
			asked = true
		case <-ctx.Done():
			stop()
			return nil
		}
		stop()
		changed, err := c.load()
		switch {
		case err != nil && (changed || asked):
			log.Error().Err(err).Msg("the new certificate of the listener cannot be used: the old one goes on")
		case err == nil && changed:
			c.say(log, k.Now(), "the listener has a new certificate")
		case err == nil && asked:
			log.Info().Msg("the certificate of the listener has not changed")
		}
	}
}

// say tells what is in force.
func (c *certificates) say(log zerolog.Logger, now time.Time, message string) {
	leaf := c.current.Load().Certificates[0].Leaf
	level, problem := zerolog.InfoLevel, error(nil)
	if !now.Before(leaf.NotAfter) || now.Before(leaf.NotBefore) {
		level, problem = zerolog.WarnLevel, errors.New("it is not valid at this time: clients will refuse it")
	}
	log.WithLevel(level).AnErr("problem", problem).Str("serial", leaf.SerialNumber.Text(16)).Time("not_after", leaf.NotAfter).Strs("names", leaf.DNSNames).Msg(message)
}
