package cli

import (
	"cmp"
	"crypto/tls"
	"errors"
	"net/http"
	"strconv"

	"github.com/hashicorp/vault/api"
)

// client builds the API client that the settings describe, with the token.
func (s *session) client() (*api.Client, error) {
	client, err := s.anonymousClient()
	if err != nil {
		return nil, err
	}
	token, err := s.token()
	if err != nil {
		return nil, local(err, "Error reading the token")
	}
	if token != "" {
		client.SetToken(token)
	}
	return client, nil
}

// anonymousClient is client without a token, whatever the environment holds.
func (s *session) anonymousClient() (*api.Client, error) {
	config, err := s.clientConfig()
	if err != nil {
		return nil, local(err, "Error creating the client")
	}
	client, err := api.NewClient(config)
	if err != nil {
		return nil, local(err, "Error creating the client")
	}
	// NewClient has looked at VAULT_TOKEN and VAULT_NAMESPACE; our order counts.
	client.ClearToken()
	client.ClearNamespace()
	if ns := cmp.Or(s.flags.namespace, s.env("NAMESPACE")); ns != "" {
		client.SetNamespace(ns)
	}
	client.SetWrappingLookupFunc(func(method, path string) string {
		switch {
		case s.flags.wrapTTL > 0:
			return s.flags.wrapTTL.String()
		case (method == http.MethodPut || method == http.MethodPost) && path == "sys/wrapping/wrap":
			return api.DefaultWrappingTTL // that path answers nothing unwrapped
		}
		return ""
	})
	return client, nil
}

// neverWrap makes client take answers as they are, for commands that use the
// answer themselves: a wrap TTL in the environment is not meant for them.
func neverWrap(client *api.Client) {
	client.SetWrappingLookupFunc(func(string, string) string { return "" })
}

func (s *session) clientConfig() (*api.Config, error) {
	base, ok := http.DefaultTransport.(*http.Transport)
	if !ok {
		return nil, errors.New("the process's default transport was replaced")
	}
	transport := base.Clone()
	transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	config := &api.Config{
		Address: cmp.Or(s.flags.address, s.env("ADDR"), defaultAddress),
		Timeout: defaultTimeout,
		HttpClient: &http.Client{
			Transport: transport,
			// The API client follows a redirect itself, with the token.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
	if variable, text := s.envNamed("CLIENT_TIMEOUT"); text != "" {
		timeout, err := parseDuration(text)
		if err != nil {
			return nil, errors.New(variable + ": " + err.Error())
		}
		config.Timeout = timeout
	}
	if variable, text := s.envNamed("MAX_RETRIES"); text != "" {
		retries, err := strconv.ParseUint(text, 10, 16)
		if err != nil {
			return nil, errors.New(variable + " is not a number of retries")
		}
		config.MaxRetries = int(retries)
	}
	return config, s.configureTLS(config)
}

func (s *session) configureTLS(config *api.Config) error {
	insecure, err := s.envBool("SKIP_VERIFY")
	if err != nil {
		return err
	}
	return config.ConfigureTLS(&api.TLSConfig{
		CACert:        cmp.Or(s.flags.caCert, s.env("CACERT")),
		CACertBytes:   []byte(s.env("CACERT_BYTES")),
		CAPath:        cmp.Or(s.flags.caPath, s.env("CAPATH")),
		ClientCert:    cmp.Or(s.flags.clientCert, s.env("CLIENT_CERT")),
		ClientKey:     cmp.Or(s.flags.clientKey, s.env("CLIENT_KEY")),
		TLSServerName: cmp.Or(s.flags.tlsServerName, s.env("TLS_SERVER_NAME")),
		Insecure:      insecure || s.flags.tlsSkipVerify,
	})
}
