package listener

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/services/internal/config"
	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/store/storetest"
)

// hang bounds what must happen some time; it decides nothing.
const hang = time.Minute

// authority signs certificates.
type authority struct {
	*testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	last int64
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	a := &authority{T: t, last: 1}
	a.cert, a.key = a.sign(&x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	})
	return a
}

func (a *authority) sign(c *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.Fatal(err)
	}
	c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, by := a.cert, a.key
	if parent == nil {
		parent, by = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, by)
	if err != nil {
		a.Fatal(err)
	}
	made, err := x509.ParseCertificate(der)
	if err != nil {
		a.Fatal(err)
	}
	return made, key
}

// issue makes a pair for a server or a client, with the next serial.
func (a *authority) issue(usage x509.ExtKeyUsage) (cert, key []byte) {
	a.Helper()
	a.last++
	c, k := a.sign(&x509.Certificate{
		SerialNumber: big.NewInt(a.last), Subject: pkix.Name{CommonName: "test"}, ExtKeyUsage: []x509.ExtKeyUsage{usage},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature,
	})
	der, err := x509.MarshalECPrivateKey(k)
	if err != nil {
		a.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
}

func (a *authority) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// logs keeps what was logged.
type logs struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logs) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logs) count(part string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), part)
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(hang); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never came: %s", what)
		}
	}
}

// site is a listener that serves.
type site struct {
	*testing.T
	dir    string
	ca     *authority
	from   config.Listener
	at     string
	clock  *storetest.Clock
	hangup chan struct{}
	logs   *logs
	stop   context.CancelFunc
	ended  chan struct{}
}

// write puts a file in its place at once.
func (s *site) write(name string, content []byte) {
	s.Helper()
	path := filepath.Join(s.dir, name)
	err := os.WriteFile(path+".new", content, 0o600)
	if err := errors.Join(err, os.Rename(path+".new", path)); err != nil {
		s.Fatal(err)
	}
}

// renew writes a new pair.
func (s *site) renew() {
	s.Helper()
	cert, key := s.ca.issue(x509.ExtKeyUsageServerAuth)
	s.write("cert.pem", cert)
	s.write("key.pem", key)
}

func newSite(t *testing.T, change func(*site)) *site {
	t.Helper()
	s := &site{
		T: t, dir: t.TempDir(), ca: newAuthority(t, "right"), clock: storetest.NewClock(), hangup: make(chan struct{}), logs: &logs{}, ended: make(chan struct{}),
	}
	s.renew()
	s.from = config.Listener{
		Address: "127.0.0.1:0", CertFile: filepath.Join(s.dir, "cert.pem"), KeyFile: filepath.Join(s.dir, "key.pem"), MinVersion: "tls12",
	}
	if change != nil {
		change(s)
	}
	ctx, cancel := context.WithCancel(t.Context())
	s.stop = cancel
	l, err := Open(ctx, s.from)
	if err != nil {
		t.Fatal(err)
	}
	s.at = URL(s.from, l.Addr())
	var wg sync.WaitGroup
	wg.Go(func() {
		var k clock.Clock = s.clock
		if err := l.Follow(ctx, k, s.hangup, zerolog.New(s.logs)); err != nil {
			t.Errorf("Follow: %v", err)
		}
	})
	wg.Go(func() {
		if err := Serve(ctx, &http.Server{Handler: http.HandlerFunc(answer), ReadHeaderTimeout: hang}, l, func() {}, zerolog.Nop()); err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
	return s
}

// answer says one word; /slow says it when the client has sent another.
func answer(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/slow" {
		_, _ = io.Copy(io.Discard, r.Body)
	}
	_, _ = io.WriteString(w, "word")
}

// client is a new one that trusts ca.
func client(ca *authority, change func(*tls.Config)) *http.Client {
	c := &tls.Config{RootCAs: ca.pool(), MinVersion: tls.VersionTLS12}
	if change != nil {
		change(c)
	}
	return &http.Client{Transport: &http.Transport{TLSClientConfig: c, ForceAttemptHTTP2: true}}
}

// get returns the serial of the server's certificate and the protocol.
func (s *site) get(c *http.Client) (serial string, version int, err error) {
	r, err := http.NewRequestWithContext(s.Context(), http.MethodGet, s.at, nil)
	if err != nil {
		return "", 0, err
	}
	a, err := c.Do(r)
	if err != nil {
		return "", 0, err
	}
	defer a.Body.Close()
	if text, err := io.ReadAll(a.Body); err != nil || string(text) != "word" {
		return "", 0, fmt.Errorf("body %q: %w", text, err)
	}
	return a.TLS.PeerCertificates[0].SerialNumber.String(), a.ProtoMajor, nil
}

func TestClients(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(s *site) { s.from.MinVersion = "tls13" })
	if _, version, err := s.get(client(s.ca, nil)); err != nil || version != 2 {
		t.Errorf("with the right CA: HTTP/%d, %v", version, err)
	}
	if _, _, err := s.get(client(newAuthority(t, "wrong"), nil)); err == nil || !strings.Contains(err.Error(), "unknown authority") {
		t.Errorf("with another CA: %v", err)
	}
	if _, _, err := s.get(client(s.ca, func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 })); err == nil || !strings.Contains(err.Error(), "protocol version") {
		t.Errorf("with TLS 1.2: %v", err)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, strings.Replace(s.at, "https", "http", 1), nil)
	if err != nil {
		t.Fatal(err)
	}
	a, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	if text, _ := io.ReadAll(a.Body); a.StatusCode != http.StatusBadRequest || !strings.Contains(string(text), "HTTP request to an HTTPS server") {
		t.Errorf("plain text: %d %s", a.StatusCode, text)
	}
}

func TestClientCertificates(t *testing.T) {
	t.Parallel()
	for _, required := range []bool{false, true} {
		t.Run(fmt.Sprint(required), func(t *testing.T) {
			t.Parallel()
			of, other := newAuthority(t, "clients"), newAuthority(t, "others")
			s := newSite(t, func(s *site) {
				s.write("clients.pem", of.pem())
				s.from.ClientCAFile, s.from.RequireClientCert = filepath.Join(s.dir, "clients.pem"), required
			})
			with := func(a *authority) func(*tls.Config) {
				cert, key := a.issue(x509.ExtKeyUsageClientAuth)
				pair, err := tls.X509KeyPair(cert, key)
				if err != nil {
					t.Fatal(err)
				}
				return func(c *tls.Config) { // shown whatever the server asks for
					c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
				}
			}
			if _, _, err := s.get(client(s.ca, with(of))); err != nil {
				t.Errorf("with a certificate: %v", err)
			}
			if _, _, err := s.get(client(s.ca, with(other))); err == nil {
				t.Error("a certificate of another CA was taken")
			}
			if _, _, err := s.get(client(s.ca, nil)); (err != nil) != required {
				t.Errorf("without a certificate: %v; required %t", err, required)
			}
			// Another CA for clients holds for the next connection.
			s.write("clients.pem", other.pem())
			s.hangup <- struct{}{}
			eventually(t, "the new CA holds", func() bool { _, _, err := s.get(client(s.ca, with(other))); return err == nil })
			if _, _, err := s.get(client(s.ca, with(of))); err == nil {
				t.Error("a certificate of the former CA was taken")
			}
		})
	}
}

// While clients come and stay, the pair is changed again and again: nobody
// notices but by the new certificate.
func TestReloadUnderLoad(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	body, send := io.Pipe()
	slow := make(chan error, 1)
	var wg sync.WaitGroup
	wg.Go(func() { // one request that lasts over all changes
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.at+"/slow", body)
		if err != nil {
			slow <- err
			return
		}
		a, err := client(s.ca, nil).Do(r)
		if err == nil {
			_, err = io.ReadAll(a.Body)
			err = errors.Join(err, a.Body.Close())
		}
		slow <- err
	})
	if _, err := send.Write([]byte("begun")); err != nil { // the server reads it
		t.Fatal(err)
	}
	var served, fresh atomic.Int64
	stop := make(chan struct{})
	for n := range 4 {
		wg.Go(func() {
			keep := client(s.ca, func(c *tls.Config) { c.ClientSessionCache = tls.NewLRUClientSessionCache(4) })
			for {
				select {
				case <-stop:
					return
				default:
				}
				if n%2 == 0 { // a new connection, which resumes its session where it can
					keep.CloseIdleConnections()
					fresh.Add(1)
				}
				if _, _, err := s.get(keep); err != nil {
					t.Errorf("a request failed: %v", err)
					return
				}
				served.Add(1)
			}
		})
	}
	for range 20 {
		before := served.Load()
		eventually(t, "requests are served", func() bool { return served.Load() > before+10 || t.Failed() })
		s.renew()
		s.hangup <- struct{}{}
		want := fmt.Sprint(s.ca.last)
		eventually(t, "the new certificate is shown", func() bool { serial, _, err := s.get(client(s.ca, nil)); return err == nil && serial == want })
	}
	close(stop)
	if err := send.Close(); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	if err := <-slow; err != nil {
		t.Errorf("the long request: %v", err)
	}
	if n := s.logs.count("has a new certificate"); n != 20 {
		t.Errorf("%d changes are logged, want 20", n)
	}
	t.Logf("%d requests, %d of them with a new connection, over 20 changes", served.Load(), fresh.Load())
}

// What is broken replaces nothing and is said once, however often the files are
// looked at; files that change are found without a signal.
func TestBrokenPair(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	eventually(t, "it runs", func() bool { return s.logs.count("certificate of the listener") == 1 })
	good, key := s.ca.issue(x509.ExtKeyUsageServerAuth)
	_, otherKey := s.ca.issue(x509.ExtKeyUsageServerAuth)
	const shown = "2" // the serial of the first
	check := func(want string) {
		t.Helper()
		if serial, _, err := s.get(client(s.ca, nil)); err != nil || serial != want {
			t.Errorf("serial %s, %v; want %s", serial, err, want)
		}
	}
	said := 0
	for name, spoil := range map[string]func(){
		"another's key": func() { s.write("cert.pem", good); s.write("key.pem", otherKey) },
		"half a file":   func() { s.write("cert.pem", good[:len(good)/2]) },
		"empty":         func() { s.write("cert.pem", nil) },
		"gone":          func() { _ = os.Remove(filepath.Join(s.dir, "cert.pem")) },
	} {
		spoil()
		s.hangup <- struct{}{}
		said++
		eventually(t, name+" is logged", func() bool { return s.logs.count("the old one goes on") == said })
		check(shown)
		if err := Check(s.from); err == nil {
			t.Errorf("%s: the check of the configuration finds nothing", name)
		}
		if _, err := Open(t.Context(), s.from); err == nil {
			t.Errorf("%s: it starts", name)
		}
	}
	for range 20 { // looked at again, and not said again
		s.clock.Advance(lookEvery)
	}
	s.write("cert.pem", nil) // as long as this is there, the key changes nothing
	s.hangup <- struct{}{}
	said++
	s.write("cert.pem", good)
	s.write("key.pem", key)
	eventually(t, "the good pair is loaded", func() bool { s.clock.Advance(lookEvery); return s.logs.count("has a new certificate") == 1 })
	if n := s.logs.count("the old one goes on"); n < said || n > said+1 { // one more where it looked between the two files
		t.Errorf("it is said %d times, want %d", n, said)
	}
	check("3")
	if s.logs.count("PRIVATE") > 0 {
		t.Error("the log shows a key")
	}
}

// Plain text is told of beyond this machine, and there only.
func TestExposed(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]int{"127.0.0.1:0": 0, "[::1]:0": 0, "0.0.0.0:0": 1, ":0": 1} {
		l, err := Open(t.Context(), config.Listener{Address: address, Plain: true})
		if err != nil {
			if strings.HasPrefix(address, "[::1]") {
				continue // a machine without IPv6
			}
			t.Fatal(err)
		}
		var log logs
		l.Warn(zerolog.New(&log))
		if n := log.count("WARNING: plain HTTP"); n != want {
			t.Errorf("%s: %d warnings, want %d", address, n, want)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
}
