package cli

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

const (
	defaultAddress = "https://127.0.0.1:8200"
	defaultTimeout = 60 * time.Second

	formatTable = "table"
	formatJSON  = "json"
	formatYAML  = "yaml"
)

// session is one invocation: what the flags of the one command that runs said,
// and where its output goes.
type session struct {
	io  IO
	out *output

	flags struct {
		address, namespace, caCert, caPath, clientCert, clientKey, tlsServerName string
		tlsSkipVerify, nonInteractive                                            bool
		wrapTTL                                                                  duration
		format, field                                                            string
	}
}

func newSession(streams IO) *session {
	return &session{io: streams, out: &output{to: streams.Stdout}}
}

// clientFlags gives cmd the flags that every client command has, and checks
// the ones that need no server before anything is sent.
func (s *session) clientFlags(cmd *cobra.Command) *cobra.Command {
	f, flags := &s.flags, cmd.Flags()
	flags.StringVar(&f.address, "address", "", "address of the server (CURFEW_ADDR, VAULT_ADDR; default "+defaultAddress+")")
	flags.StringVar(&f.namespace, "namespace", "", "namespace to send (CURFEW_NAMESPACE)")
	flags.StringVar(&f.namespace, "ns", "", "short for -namespace")
	flags.StringVar(&f.caCert, "ca-cert", "", "PEM file of the CA that the server's certificate must chain to (CURFEW_CACERT)")
	flags.StringVar(&f.caPath, "ca-path", "", "directory of such PEM files (CURFEW_CAPATH)")
	flags.StringVar(&f.clientCert, "client-cert", "", "PEM file of the certificate to present (CURFEW_CLIENT_CERT)")
	flags.StringVar(&f.clientKey, "client-key", "", "PEM file of its private key (CURFEW_CLIENT_KEY)")
	flags.StringVar(&f.tlsServerName, "tls-server-name", "", "name that the server's certificate must bear (CURFEW_TLS_SERVER_NAME)")
	flags.BoolVar(&f.tlsSkipVerify, "tls-skip-verify", false, "accept any certificate (CURFEW_SKIP_VERIFY)")
	flags.Var(&f.wrapTTL, "wrap-ttl", "wrap the answer in a single-use token that lives this long (CURFEW_WRAP_TTL)")
	flags.StringVar(&f.format, "format", "", "table, json or yaml (CURFEW_FORMAT; default table)")
	flags.BoolVar(&f.nonInteractive, "non-interactive", false, "never ask on the terminal")
	flags.Bool("no-color", false, "accepted; output is never coloured")
	if err := flags.MarkHidden("ns"); err != nil {
		panic(err) // the flag is defined above
	}
	cmd.PreRunE = func(cmd *cobra.Command, _ []string) error {
		f.format = cmp.Or(f.format, s.env("FORMAT"), formatTable)
		if f.format == "yml" { // as the stock CLI has it, too
			f.format = formatYAML
		}
		if f.format != formatTable && f.format != formatJSON && f.format != formatYAML {
			return usage(cmd, "Invalid output format %q (want %s, %s or %s)", f.format, formatTable, formatJSON, formatYAML)
		}
		if text := s.env("WRAP_TTL"); text != "" && !cmd.Flags().Changed("wrap-ttl") {
			if err := f.wrapTTL.Set(text); err != nil {
				return local(err, "Invalid wrap TTL in the environment")
			}
		}
		return nil
	}
	return cmd
}

// secretFlags is clientFlags and -field, for commands that print a secret.
func (s *session) secretFlags(cmd *cobra.Command) *cobra.Command {
	cmd.Flags().StringVar(&s.flags.field, "field", "", "print the raw value of this field only")
	return s.clientFlags(cmd)
}

// env reads a setting from the environment: CURFEW_* over VAULT_*.
func (s *session) env(name string) string {
	_, value := s.envNamed(name)
	return value
}

// envNamed is env with the name of the variable that decided.
func (s *session) envNamed(name string) (variable, value string) {
	for _, prefix := range []string{"CURFEW_", "VAULT_"} {
		if value := s.io.Getenv(prefix + name); value != "" {
			return prefix + name, value
		}
	}
	return "", ""
}

func (s *session) envBool(name string) (bool, error) {
	variable, text := s.envNamed(name)
	if text == "" {
		return false, nil
	}
	value, err := strconv.ParseBool(text)
	if err != nil {
		return false, fmt.Errorf("%s is neither true nor false", variable)
	}
	return value, nil
}

// duration is a flag value: a Go duration, a whole number of days ("7d"), or a
// bare number of seconds.
type duration time.Duration

// Set parses text.
func (d *duration) Set(text string) error {
	parsed, err := parseDuration(text)
	if err != nil {
		return err
	}
	*d = duration(parsed)
	return nil
}

// String is the form that goes on the wire ("1h0m0s").
func (d *duration) String() string { return time.Duration(*d).String() }

// Type names the value in help texts.
func (d *duration) Type() string { return "duration" }

// Seconds is the whole seconds, rounded towards zero.
func (d *duration) Seconds() int { return int(time.Duration(*d) / time.Second) }

var errDuration = errors.New(`want a duration such as "90s", "1h30m", "7d" or a number of seconds`)

func parseDuration(text string) (time.Duration, error) {
	unit, digits := time.Second, text
	if days, ok := strings.CutSuffix(text, "d"); ok {
		unit, digits = 24*time.Hour, days
	}
	if n, err := strconv.ParseInt(digits, 10, 64); err == nil {
		product := time.Duration(n) * unit
		if product/unit != time.Duration(n) {
			return 0, errDuration
		}
		return product, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0, errDuration
	}
	return d, nil
}

// textMap is a flag value that collects K=V; a value may hold "=" and ",".
type textMap map[string]string

// Set adds one K=V. Its error does not show the value.
func (m textMap) Set(text string) error {
	key, value, ok := strings.Cut(text, "=")
	if !ok || key == "" {
		return errors.New("want key=value")
	}
	m[key] = value
	return nil
}

// String is empty: the default is, and nothing else is asked for.
func (m textMap) String() string { return "" }

// Type names the value in help texts.
func (m textMap) Type() string { return "K=V" }
