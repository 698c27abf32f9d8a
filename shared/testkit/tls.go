package testkit

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

const (
	caFile      = "ca.pem"
	otherCAFile = "other-ca.pem"
	validFor    = 24 * time.Hour
)

// pki is a server's certificate and key, the authority that signed it, and
// another that did not; all in PEM.
type pki struct {
	authority, other []byte
	certificate, key []byte
}

func newPKI(hosts []string) (_ *pki, err error) {
	p := &pki{}
	var ca *x509.Certificate
	var caKey *ecdsa.PrivateKey
	if ca, caKey, p.authority, err = newAuthority(); err != nil {
		return nil, err
	}
	if _, _, p.other, err = newAuthority(); err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the server's key: %w", err)
	}
	template, err := template("Postgres of a Curfew test")
	if err != nil {
		return nil, err
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca, key.Public(), caKey)
	if err != nil {
		return nil, fmt.Errorf("sign the server's certificate: %w", err)
	}
	p.certificate = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if der, err = x509.MarshalPKCS8PrivateKey(key); err != nil {
		return nil, fmt.Errorf("encode the server's key: %w", err)
	}
	p.key = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	return p, nil
}

// newAuthority makes a certificate authority. All have one name: telling them
// apart takes a look at the signature.
func newAuthority() (*x509.Certificate, *ecdsa.PrivateKey, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("make an authority's key: %w", err)
	}
	template, err := template("Authority of a Curfew test")
	if err != nil {
		return nil, nil, nil, err
	}
	template.IsCA = true
	template.BasicConstraintsValid = true
	template.KeyUsage = x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("sign an authority: %w", err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("read back an authority: %w", err)
	}
	return certificate, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}

func template(name string) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, fmt.Errorf("make a serial number: %w", err)
	}
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    now.Add(-time.Hour), // clocks differ
		NotAfter:     now.Add(validFor),
	}, nil
}

// write puts the authorities where a client can name them.
func (p *pki) write(dir string) error {
	return errors.Join(
		os.WriteFile(filepath.Join(dir, caFile), p.authority, 0o600),
		os.WriteFile(filepath.Join(dir, otherCAFile), p.other, 0o600))
}
