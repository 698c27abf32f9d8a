//go:build e2e

package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	pemtext "encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/curfew-project/curfew/services/internal/child"
	"github.com/curfew-project/curfew/shared/testkit/server"
)

// selfSigned writes a certificate for this machine that is its own CA.
func selfSigned(tb testing.TB, dir string, serial int64) (certFile, keyFile string) {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(tb, err, "make a key")
	c := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "curfew"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	must(tb, err, "sign the certificate")
	private, err := x509.MarshalECPrivateKey(key)
	must(tb, err, "encode the key")
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for path, block := range map[string]*pemtext.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "EC PRIVATE KEY", Bytes: private}} {
		must(tb, os.WriteFile(path, pemtext.EncodeToMemory(block), 0o600), "write "+path)
	}
	return certFile, keyFile
}

// TestListenerTLS: the program's own client trusts the server by VAULT_CACERT, is
// told what is wrong by another CA, and gets the new certificate after SIGHUP; a
// broken pair is refused by -check-config, and changes nothing while it runs.
func TestListenerTLS(t *testing.T) {
	t.Parallel()
	oneMachine(t, "the listener of all programs is one; its own tests have the rest")
	c := frame(t)
	certs, elsewhere := t.TempDir(), t.TempDir()
	cert, key := selfSigned(t, certs, 1)
	other, _ := selfSigned(t, elsewhere, 1)
	file := filepath.Join(c.home, "curfew.hcl")
	text := fmt.Sprintf("data_dir = %q\nlistener \"tcp\" { address = %q tls_cert_file = %q tls_key_file = %q }\n", filepath.Join(c.home, "data"), c.address, cert, key)
	must(t, os.WriteFile(file, []byte(text), 0o600), "write configuration")

	if out, code := c.run(t, "server", "-config="+file, "-check-config"); code != 0 {
		t.Fatalf("check of a good configuration: exit %d\n%s", code, out)
	}
	cmd := exec.Command(program(t), "server", "-config="+file)
	cmd.Env = server.Environ(os.Environ(), c.home)
	var said output
	cmd.Stdout, cmd.Stderr = &said, &said
	p, err := child.Start(cmd)
	must(t, err, "start the program")
	t.Cleanup(func() { _ = p.Kill() })

	status := func(ca string) (string, int) {
		cmd := exec.CommandContext(t.Context(), program(t), "status")
		cmd.Env = append(server.Environ(os.Environ(), c.home), "VAULT_ADDR=https://"+c.address, "VAULT_CACERT="+ca)
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		return string(out), cmd.ProcessState.ExitCode()
	}
	eventually(t, hang, func() error {
		if out, code := status(cert); code != 0 {
			return fmt.Errorf("status: exit %d: %s\n%s", code, out, &said)
		}
		return nil
	})
	if out, code := status(other); code != 1 || !strings.Contains(out, "certificate signed by unknown authority") {
		t.Errorf("status with another CA: exit %d: %s", code, out)
	}
	if out, code := c.run(t, "status"); code == 0 || !strings.Contains(out, "HTTP request to an HTTPS server") {
		t.Errorf("status in plain text: exit %d: %s", code, out)
	}
	serial := func() string {
		conn, err := (&tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}).DialContext(t.Context(), "tcp", c.address)
		must(t, err, "connect")
		defer func() { _ = conn.Close() }()
		return conn.(*tls.Conn).ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	must(t, os.WriteFile(key, []byte("half"), 0o600), "break the key")
	if out, code := c.run(t, "server", "-config="+file, "-check-config"); code != 1 || !strings.Contains(out, key) {
		t.Errorf("check of a broken pair: exit %d: %s", code, out)
	}
	must(t, p.Signal(syscall.SIGHUP), "signal")
	eventually(t, hang, func() error {
		if !strings.Contains(said.String(), "the old one goes on") {
			return errors.New("the broken pair is not logged")
		}
		return nil
	})
	if got := serial(); got != "1" {
		t.Errorf("with a broken pair serial %s is shown", got)
	}
	selfSigned(t, certs, 2)
	must(t, p.Signal(syscall.SIGHUP), "signal")
	eventually(t, hang, func() error {
		if got := serial(); got != "2" {
			return fmt.Errorf("serial %s is shown", got)
		}
		return nil
	})
	if out, code := status(cert); code != 0 {
		t.Errorf("status with the new certificate: exit %d: %s", code, out)
	}
	must(t, p.Stop(context.Background(), hang), "stop")
	if code := p.ExitCode(); code != 0 {
		t.Errorf("exit %d:\n%s", code, &said)
	}
}
