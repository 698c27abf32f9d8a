package cli

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/hashicorp/vault/api"
	"github.com/spf13/cobra"
)

// Exit codes, those of the stock CLI.
const (
	codeDone   = 0
	codeLocal  = 1 // usage, or something on this machine
	codeServer = 2 // the server, or nothing at the path
	codeSealed = 2 // status only
)

// ExitError ends a command with an exit code. Its text is the whole message that
// is printed; one without Act and Err exits in silence.
type ExitError struct {
	Code int
	Act  string // what was attempted: "Error reading secret/x"
	Err  error
}

// Error is the message as printed.
func (f *ExitError) Error() string {
	switch {
	case f.Err == nil:
		return f.Act
	case f.Act == "":
		return describe(f.Err)
	}
	return f.Act + ": " + describe(f.Err)
}

// Unwrap returns the cause.
func (f *ExitError) Unwrap() error { return f.Err }

// refused is a request that the server did not fulfil.
func refused(err error, format string, args ...any) error {
	return &ExitError{Code: codeServer, Act: fmt.Sprintf(format, args...), Err: err}
}

// absent is a path with nothing at it.
func absent(format string, args ...any) error {
	return &ExitError{Code: codeServer, Act: fmt.Sprintf(format, args...)}
}

// local is a failure on this machine.
func local(err error, format string, args ...any) error {
	return &ExitError{Code: codeLocal, Act: fmt.Sprintf(format, args...), Err: err}
}

// usage is a command line that cannot be run: the message, then how the
// command is called.
func usage(cmd *cobra.Command, format string, args ...any) error {
	return &ExitError{Code: codeLocal, Act: fmt.Sprintf(format, args...) + "\n\n" + synopsis(cmd)}
}

// synopsis says in two or three lines how cmd is called.
func synopsis(cmd *cobra.Command) string {
	if !cmd.HasAvailableSubCommands() {
		return fmt.Sprintf("Usage: %s\nFor its flags: %s -help", cmd.UseLine(), cmd.CommandPath())
	}
	var names []string
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			names = append(names, sub.Name())
		}
	}
	return fmt.Sprintf("Usage: %s COMMAND\nCommands: %s", cmd.CommandPath(), strings.Join(names, ", "))
}

// arguments checks their number; most < 0 means any.
func arguments(least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < least {
			return usage(cmd, "Not enough arguments (expected %d, got %d)", least, len(args))
		}
		if most >= 0 && len(args) > most {
			return usage(cmd, "Too many arguments (expected %d, got %d)", most, len(args))
		}
		return nil
	}
}

// describe is the text of err. An answer of the server reads as in the stock
// CLI, each of its errors on a line; the address loses its password.
func describe(err error) string {
	var answer *api.ResponseError
	if !errors.As(err, &answer) {
		return err.Error()
	}
	var text strings.Builder
	text.WriteString("Error making API request.\n\n")
	if ns := answer.NamespacePath; ns != "" && ns != "root/" {
		fmt.Fprintf(&text, "Namespace: %s\n", ns)
	}
	fmt.Fprintf(&text, "URL: %s %s\n", answer.HTTPMethod, redactURL(answer.URL))
	if answer.RawError {
		fmt.Fprintf(&text, "Code: %d. Raw Message:\n\n%s", answer.StatusCode, strings.Join(answer.Errors, "\n"))
		return text.String()
	}
	fmt.Fprintf(&text, "Code: %d. Errors:\n\n", answer.StatusCode)
	for i, message := range answer.Errors {
		if i > 0 && !strings.HasSuffix(answer.Errors[i-1], "\n") {
			text.WriteByte('\n')
		}
		fmt.Fprintf(&text, "* %s", message)
	}
	return text.String()
}

func redactURL(text string) string {
	u, err := url.Parse(text)
	if err != nil || u.User == nil {
		return text
	}
	return u.Redacted()
}
