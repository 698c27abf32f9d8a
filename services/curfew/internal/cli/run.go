package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/curfew-project/curfew/shared/fsck"
)

// IO is what the commands see of the process they run in.
type IO struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer

	// Getenv reads the environment; os.Getenv outside tests.
	Getenv func(string) string
	// Now is the wall clock; it turns "-since=10m" into a time.
	Now func() time.Time
	// Wait pauses for d or until ctx is done, whose error it then returns.
	// Nil means a timer.
	Wait func(ctx context.Context, d time.Duration) error
	// Files opens what fsck compares where no server is asked: a data directory,
	// or what a configuration names. Nil: it asks servers only.
	Files func(ctx context.Context, dataDir, config string) (fsck.Sources, func() error, error)
}

// Extension adds a command to the tree.
type Extension struct {
	// Under is the group that the command joins ("audit"), or empty for a
	// command of the program itself.
	Under string
	// New builds the command. Its RunE may return a *ExitError to choose the
	// exit code; any other error is printed and exits 1.
	New func(IO) *cobra.Command
}

// Run runs the command line args (without the program's name) and returns the
// process's exit code. It returns when the command has ended or ctx is done.
func Run(ctx context.Context, args []string, streams IO, extensions ...Extension) int {
	if streams.Wait == nil {
		streams.Wait = wait
	}
	s := newSession(streams)
	root := s.commands() //nolint:contextcheck // the commands take ctx from ExecuteContext
	for _, extension := range extensions {
		parent := root
		if extension.Under != "" {
			parent = child(root, extension.Under)
			if parent == nil {
				fmt.Fprintf(streams.Stderr, "No group %q for an extension\n", extension.Under)
				return codeLocal
			}
		}
		parent.AddCommand(extension.New(streams))
	}
	s.completions(root) //nolint:contextcheck // cobra gives the functions theirs
	if isCompletion(args) {
		return s.conclude(s.complete(ctx, root, args))
	}
	root.SetArgs(normalise(root, args))
	return s.conclude(root.ExecuteContext(ctx))
}

// commands builds the tree of client commands.
func (s *session) commands() *cobra.Command {
	root := group("curfew", "Dynamic secrets that are gone on time",
		s.statusCommand(), s.loginCommand(), s.fsckCommand(),
		s.readCommand(), s.writeCommand(), s.listCommand(), s.deleteCommand(), s.unwrapCommand(), s.explainCommand(), s.pathHelpCommand(),
		group("secrets", "Manage secrets engines",
			s.secretsEnableCommand(), s.secretsListCommand(), s.secretsTuneCommand(), s.secretsDisableCommand()),
		group("lease", "Look up, renew and revoke leases",
			s.leaseLookupCommand(), s.leaseRenewCommand(), s.leaseRevokeCommand(), s.leaseParkedCommand(), s.leaseRetryCommand()),
		group("token", "Look up, create, renew and revoke tokens",
			s.tokenLookupCommand(), s.tokenCreateCommand(), s.tokenRenewCommand(), s.tokenRevokeCommand(), s.tokenCapabilitiesCommand()),
		group("policy", "Write, read, list and delete policies",
			s.policyWriteCommand(), s.policyReadCommand(), s.policyListCommand(), s.policyDeleteCommand()),
		group("auth", "Manage auth methods",
			s.authEnableCommand(), s.authListCommand(), s.authTuneCommand(), s.authDisableCommand()),
		group("operator", "Initialise a server, look after an installation",
			s.operatorInitCommand(), s.operatorUnsealCommand(), s.operatorSealCommand(), s.statusCommand(),
			s.operatorInstallationCommand(), s.operatorConfirmCommand(), s.operatorRecountCommand()),
		group("audit", "Read the audit log, manage audit devices",
			s.auditEntriesCommand(), s.auditTailCommand(),
			s.auditEnableCommand(), s.auditListCommand(), s.auditDisableCommand()),
		s.completionCommand(),
	)
	s.autocomplete(root)
	root.SilenceErrors, root.SilenceUsage = true, true
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return usage(cmd, "%s", err) })
	root.SetIn(s.io.Stdin)
	root.SetOut(s.out)
	root.SetErr(s.io.Stderr)
	return root
}

// group is a command that only holds others.
func group(name, short string, commands ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use:   name,
		Short: short,
		Args:  cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage(cmd, "Which command of %q?", cmd.CommandPath())
			}
			if isWord(args[0]) {
				return usage(cmd, "Unknown command %q of %q", args[0], cmd.CommandPath())
			}
			return usage(cmd, "Unknown command of %q", cmd.CommandPath())
		},
	}
	cmd.AddCommand(commands...)
	return cmd
}

// isWord reports whether text may be echoed as a mistyped command. Anything
// else may be a token that was pasted in the wrong place.
func isWord(text string) bool {
	return len(text) <= 16 && strings.Trim(text, "abcdefghijklmnopqrstuvwxyz-") == ""
}

// conclude prints what is left to say and maps the outcome to an exit code.
func (s *session) conclude(err error) int {
	code := codeDone
	var failed *ExitError
	switch {
	case err == nil:
	case errors.As(err, &failed):
		code = failed.Code
	default:
		code = codeLocal
	}
	if err != nil {
		if message := err.Error(); message != "" {
			fmt.Fprintln(s.io.Stderr, message)
		}
	}
	if s.out.err != nil && code == codeDone {
		fmt.Fprintf(s.io.Stderr, "Error writing output: %s\n", s.out.err)
		return codeLocal
	}
	return code
}

func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
