// Package vault is a client of the Vault HTTP API that costs as little as a
// client can, because it shares the machine with what it measures. It knows no
// path that a stock server does not have.
package vault

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/curfew-project/curfew/shared/secret"
)

// Client speaks to one server. Its methods may be called concurrently.
type Client struct {
	base  string
	token secret.Value
	http  *http.Client
}

// New returns a client that keeps as many connections as it has callers.
func New(base string, token secret.Value) *Client {
	return &Client{base: strings.TrimSuffix(base, "/") + "/v1/", token: token, http: &http.Client{
		Timeout:   5 * time.Minute,                                                // a synchronous revocation of very many
		Transport: &http.Transport{MaxIdleConnsPerHost: 1024, MaxIdleConns: 1024}, // and no proxy of the environment
	}}
}

// Answer is what is read of an answer.
type Answer struct {
	LeaseID       string `json:"lease_id"`
	LeaseDuration int    `json:"lease_duration"` // seconds
	Data          struct {
		Username   string    `json:"username"`
		ExpireTime time.Time `json:"expire_time"`
		Keys       []string  `json:"keys"`
	} `json:"data"`
	Errors []string `json:"errors"`
}

// StatusError is an answer other than success.
type StatusError struct {
	Status int
	Text   string
}

// Error names the status and what the server said.
func (e *StatusError) Error() string { return fmt.Sprintf("HTTP status %d: %s", e.Status, e.Text) }

// Do asks. An answer is at most 64 MiB: a list of 100,000 leases.
func (c *Client) Do(ctx context.Context, method, path string, fields map[string]any) (Answer, error) {
	var a Answer
	text, err := c.Raw(ctx, method, path, fields)
	if err != nil || len(text) == 0 {
		return a, err
	}
	if err := json.Unmarshal(text, &a); err != nil {
		return a, fmt.Errorf("read the answer of %s: %w", path, err)
	}
	return a, nil
}

// Raw is Do for an answer that is not in the ordinary form.
func (c *Client) Raw(ctx context.Context, method, path string, fields map[string]any) ([]byte, error) {
	var body io.Reader
	if fields != nil {
		text, err := json.Marshal(fields)
		if err != nil {
			return nil, fmt.Errorf("ask %s: %w", path, err)
		}
		body = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", path, err)
	}
	req.Header.Set("X-Vault-Token", c.token.Reveal())
	res, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", path, err)
	}
	defer res.Body.Close()
	const most = 64 << 20
	text, err := io.ReadAll(io.LimitReader(res.Body, most))
	if err != nil {
		return nil, fmt.Errorf("read the answer of %s: %w", path, err)
	}
	if res.StatusCode >= http.StatusMultipleChoices {
		var a Answer
		_ = json.Unmarshal(text, &a) // whoever answers no JSON has said nothing
		return nil, &StatusError{res.StatusCode, strings.Join(a.Errors, "; ")}
	}
	return text, nil
}
