package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"

	"github.com/hashicorp/vault/api"
	"golang.org/x/term"

	"github.com/curfew-project/curfew/services/curfew/internal/cli/internal/format"
)

// output is standard output. It remembers its first error, so that a result
// that did not arrive (a full disk, a closed pipe) is never reported as done.
type output struct {
	to  io.Writer
	err error
}

// Write writes p, or nothing after an error.
func (o *output) Write(p []byte) (int, error) {
	if o.err != nil {
		return 0, o.err
	}
	n, err := o.to.Write(p)
	o.err = err
	return n, err
}

// success prints a sentence about what was done; in JSON and YAML there is none.
func (s *session) success(text string, args ...any) {
	if s.flags.format == formatTable {
		fmt.Fprintf(s.out, text+"\n", args...)
	}
}

// warn prints a sentence to standard error, wrapped.
func (s *session) warn(text string) { fmt.Fprintln(s.io.Stderr, format.Wrap(text, 0)) }

// say prints a paragraph to standard output, wrapped, with a blank line after.
func (s *session) say(text string) { fmt.Fprintf(s.out, "%s\n\n", format.Wrap(text, 0)) }

// structured reports whether the output is for programs: JSON or YAML.
func (s *session) structured() bool { return s.flags.format != formatTable }

// printStructured prints a value in the format that -format names.
func (s *session) printStructured(value any) error {
	if s.flags.format == formatYAML {
		text, err := format.YAML(value)
		if err != nil {
			return local(err, "Error encoding the output")
		}
		fmt.Fprint(s.out, text)
		return nil
	}
	text, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return local(err, "Error encoding the output")
	}
	fmt.Fprintln(s.out, string(text))
	return nil
}

// printSecret prints an answer as -format and -field ask.
func (s *session) printSecret(secret *api.Secret) error {
	switch {
	case s.flags.field != "":
		return s.printField(secret)
	case s.structured():
		return s.printStructured(secret)
	}
	s.printWarnings(secret.Warnings)
	var rows [][]string
	for _, f := range fieldsOf(secret) {
		rows = append(rows, []string{f.label, f.shown})
	}
	if len(rows) > 0 {
		fmt.Fprint(s.out, format.Table([]string{"Key", "Value"}, rows))
	}
	return nil
}

func (s *session) printWarnings(warnings []string) {
	if len(warnings) == 0 {
		return
	}
	fmt.Fprintln(s.io.Stderr, "WARNING! The following warnings were returned from Vault:")
	for _, warning := range warnings {
		fmt.Fprintf(s.io.Stderr, "\n%s\n", format.Wrap("* "+warning, 2))
	}
	fmt.Fprintln(s.io.Stderr)
}

// printField prints one value, byte for byte; a newline follows only on a
// terminal, so that a redirected password is the password.
func (s *session) printField(secret *api.Secret) error {
	value, ok := rawField(secret, s.flags.field)
	if !ok {
		return local(nil, "Field %q not present in secret", s.flags.field)
	}
	return s.printValue(value)
}

func (s *session) printValue(value any) error {
	if s.structured() {
		return s.printStructured(value)
	}
	fmt.Fprint(s.out, value)
	if file, ok := s.io.Stdout.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		fmt.Fprintln(s.out)
	}
	return nil
}

// printKeys prints what a list holds.
func (s *session) printKeys(keys []any) error {
	if s.structured() {
		return s.printStructured(keys)
	}
	rows := make([][]string, 0, len(keys))
	for _, key := range keys {
		rows = append(rows, []string{fmt.Sprint(key)})
	}
	fmt.Fprint(s.out, format.Table([]string{"Keys"}, rows))
	return nil
}

// field is one line of a secret's table.
type field struct {
	label string // as it stands in the table
	name  string // as -field takes it; empty for one that -field finds elsewhere
	shown string
	raw   any
}

// fieldsOf lists what a table shows of secret, in its order: the lease, the
// token, the wrapping token, the data by name.
func fieldsOf(secret *api.Secret) []field {
	var fields []field
	if seconds := secret.LeaseDuration; seconds > 0 {
		if secret.LeaseID == "" {
			fields = append(fields, durationField("refresh_interval", seconds))
		} else {
			fields = append(fields,
				plainField("lease_id", secret.LeaseID),
				durationField("lease_duration", seconds),
				plainField("lease_renewable", secret.Renewable))
		}
	}
	fields = append(fields, authFields(secret.Auth)...)
	fields = append(fields, wrapFields(secret.WrapInfo)...)
	for _, name := range slices.Sorted(maps.Keys(secret.Data)) {
		value := secret.Data[name]
		fields = append(fields, field{name, name, format.Value(name, value), value})
	}
	return fields
}

func authFields(auth *api.SecretAuth) []field {
	if auth == nil {
		return nil
	}
	ttl := durationField("token_duration", auth.LeaseDuration)
	if auth.LeaseDuration == 0 {
		ttl.shown = "∞"
	}
	fields := []field{
		plainField("token", auth.ClientToken),
		plainField("token_accessor", auth.Accessor),
		ttl,
		plainField("token_renewable", auth.Renewable),
		policiesField("token_policies", auth.TokenPolicies),
		policiesField("identity_policies", auth.IdentityPolicies),
		policiesField("policies", auth.Policies),
	}
	for _, name := range slices.Sorted(maps.Keys(auth.Metadata)) {
		fields = append(fields, plainField("token_meta_"+name, auth.Metadata[name]))
	}
	return fields
}

// wrapFields has the colons of the stock table; -field names go without.
func wrapFields(wrap *api.SecretWrapInfo) []field {
	if wrap == nil {
		return nil
	}
	fields := []field{
		plainField("wrapping_token", wrap.Token),
		plainField("wrapping_accessor", wrap.Accessor),
		durationField("wrapping_token_ttl", wrap.TTL),
		plainField("wrapping_token_creation_time", wrap.CreationTime.Format("2006-01-02 15:04:05.999999999 -0700 MST")),
		plainField("wrapping_token_creation_path", wrap.CreationPath),
	}
	if wrap.WrappedAccessor != "" {
		fields = append(fields, plainField("wrapped_accessor", wrap.WrappedAccessor))
	}
	for i := range fields {
		fields[i].label += ":"
	}
	return fields
}

func plainField(name string, value any) field {
	return field{name, name, fmt.Sprint(value), value}
}

func durationField(name string, seconds int) field {
	return field{name, name, format.Seconds(seconds), seconds}
}

func policiesField(name string, policies []string) field {
	return field{name, name, fmt.Sprintf("%q", policies), policies}
}

// rawField finds the value that -field names. Data comes last, as in the
// table: a data field cannot pass for the lease or the token.
func rawField(secret *api.Secret, name string) (any, bool) {
	for _, f := range fieldsOf(secret) {
		if f.name == name {
			return f.raw, f.raw != nil
		}
	}
	if name == "data" && secret.Data != nil {
		return secret.Data, true
	}
	return nil, false
}
