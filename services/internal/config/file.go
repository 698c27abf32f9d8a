package config

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/hcl"
	"github.com/hashicorp/hcl/hcl/ast"
)

// maxFile bounds the file before it is parsed.
const maxFile = 1 << 20

// Read applies the file at path to c.
func (c *Config) Read(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	if info.Size() > maxFile {
		return fmt.Errorf("read configuration: %s has %d bytes, at most %d are read", path, info.Size(), maxFile)
	}
	text, err := os.ReadFile(path) //nolint:gosec // the operator names the file
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	if err := c.Parse(string(text)); err != nil {
		return fmt.Errorf("read configuration %s: %w", path, err)
	}
	return nil
}

// keys maps the keys of a block to where their values go: *string, *bool,
// *int64, *time.Duration, or a func for a block inside.
type keys map[string]any

// Parse applies HCL text to c.
func (c *Config) Parse(text string) error {
	root, err := hcl.Parse(text)
	if err != nil {
		return fmt.Errorf("parse: %w", err)
	}
	list, ok := root.Node.(*ast.ObjectList)
	if !ok {
		return errors.New("parse: not a list of keys")
	}
	return keys{
		"data_dir":          &c.DataDir,
		"key_file":          &c.KeyFile,
		"auto_init":         &c.AutoInit,
		"auto_unseal":       &c.AutoUnseal,
		"default_lease_ttl": &c.TTL.Default,
		"max_lease_ttl":     &c.TTL.Max,
		"log_level":         &c.Log.Level,
		"log_format":        &c.Log.Format,
		"listener": labelled("tcp", keys{
			"address":       &c.Listener.Address,
			"tls_disable":   &c.Listener.Plain,
			"tls_cert_file": &c.Listener.CertFile,
			"tls_key_file":  &c.Listener.KeyFile,

			"tls_client_ca_file":                 &c.Listener.ClientCAFile,
			"tls_require_and_verify_client_cert": &c.Listener.RequireClientCert,
			"tls_min_version":                    &c.Listener.MinVersion,

			"max_request_size":     &c.Listener.MaxRequestSize,
			"max_request_duration": &c.Listener.MaxRequestDuration,
		}),
		"name":    &c.Name,
		"monitor": block(keys{"address": &c.Monitor.Address, "profiles": &c.Monitor.Profiles}),
		"store": labelled("postgres", keys{
			"url":                   &c.Store.URL,
			"password_file":         &c.Store.PasswordFile,
			"migrate_url":           &c.Store.MigrateURL,
			"migrate_password_file": &c.Store.MigratePasswordFile,
			"pooled":                &c.Store.Pooled,
			"listen_url":            &c.Store.ListenURL,
			"max_connections":       &c.Store.MaxConns,
		}),
		"nats": block(keys{
			"listen":        &c.NATS.Listen,
			"servers":       &c.NATS.Servers,
			"user":          &c.NATS.User,
			"password_file": &c.NATS.PasswordFile,
			"creds_file":    &c.NATS.CredsFile,
			"tls_ca_file":   &c.NATS.CAFile,
			"tls_cert_file": &c.NATS.CertFile,
			"tls_key_file":  &c.NATS.KeyFile,
			"replicas":      &c.NATS.Replicas,
		}),
		"redis": block(keys{
			"addresses":     &c.Redis.Addresses,
			"cluster":       &c.Redis.Cluster,
			"master":        &c.Redis.Master,
			"user":          &c.Redis.User,
			"password_file": &c.Redis.PasswordFile,
			"tls":           &c.Redis.TLS,
			"tls_ca_file":   &c.Redis.CAFile,
			"window":        &c.Redis.Window,
		}),
		"audit": block(keys{
			"ledger_dir":  &c.Audit.LedgerDir,
			"urls":        &c.Audit.URLs,
			"tls_ca_file": &c.Audit.CAFile,
			"device_dirs": &c.Audit.DeviceDirs,
		}),
		"limits": block(keys{
			"max_backlog": &c.Limits.Backlog, "max_in_flight": &c.Limits.InFlight, "max_revocation_lag": &c.Limits.Lag,
			"cached_tokens": &c.Limits.Tokens,
		}),
		"expiry": block(keys{"stray_sweep": &c.Expiry.StraySweep, "lanes": &c.Expiry.Lanes, "paused": &c.Expiry.Paused}),
	}.read(list)
}

func (k keys) read(list *ast.ObjectList) error {
	seen := map[string]bool{}
	for _, item := range list.Items {
		name := word(item.Keys[0])
		line := item.Pos().Line
		to, ok := k[name]
		switch {
		case !ok:
			return fmt.Errorf("line %d: unknown key %q; known here: %s", line, name, strings.Join(slices.Sorted(maps.Keys(k)), ", "))
		case seen[name]:
			return fmt.Errorf("line %d: %q is there twice", line, name)
		}
		seen[name] = true
		if err := set(to, item); err != nil {
			return fmt.Errorf("line %d: %s: %w", line, name, err)
		}
	}
	return nil
}

func word(k *ast.ObjectKey) string {
	s, _ := k.Token.Value().(string)
	return s
}

func set(to any, item *ast.ObjectItem) error {
	if inside, ok := to.(func(*ast.ObjectItem) error); ok {
		return inside(item)
	}
	if len(item.Keys) != 1 {
		return errors.New("takes a value, not a block")
	}
	if d, ok := to.(*time.Duration); ok {
		var v any
		if err := hcl.DecodeObject(&v, item.Val); err != nil {
			return err
		}
		var err error
		*d, err = duration(fmt.Sprint(v))
		return err
	}
	return hcl.DecodeObject(to, item.Val)
}

// block reads a block without a label.
func block(k keys) func(*ast.ObjectItem) error {
	return func(item *ast.ObjectItem) error {
		if len(item.Keys) != 1 {
			return errors.New("takes no label")
		}
		return k.inside(item)
	}
}

// labelled reads a block with one fixed label.
func labelled(label string, k keys) func(*ast.ObjectItem) error {
	return func(item *ast.ObjectItem) error {
		if len(item.Keys) != 2 || word(item.Keys[1]) != label {
			return fmt.Errorf("takes the label %q", label)
		}
		return k.inside(item)
	}
}

func (k keys) inside(item *ast.ObjectItem) error {
	o, ok := item.Val.(*ast.ObjectType)
	if !ok {
		return errors.New("is a block: { … }")
	}
	return k.read(o.List)
}

// duration takes Go durations and plain seconds.
func duration(s string) (time.Duration, error) {
	if d, err := time.ParseDuration(s + "s"); err == nil {
		return d, nil
	}
	return time.ParseDuration(s)
}
