package cli

import (
	"strings"

	"github.com/hashicorp/vault/api"
	"github.com/spf13/cobra"
)

func (s *session) readCommand() *cobra.Command {
	return s.secretFlags(&cobra.Command{
		Use:   "read PATH [K=V...]",
		Short: "Read data and issue credentials",
		Example: `  curfew read database/creds/readonly
  curfew read -field=password database/creds/readonly`,
		Args: arguments(1, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path := cleanPath(args[0])
			query, err := queryValues(args[1:], s.io.Stdin)
			if err != nil {
				return usage(cmd, "Invalid K=V data: %s", err)
			}
			client, err := s.client()
			if err != nil {
				return err
			}
			secret, err := client.Logical().ReadWithDataWithContext(cmd.Context(), path, query)
			if err != nil {
				return refused(err, "Error reading %s", path)
			}
			if secret == nil {
				return absent("No value found at %s", path)
			}
			return s.printSecret(secret)
		},
	})
}

func (s *session) writeCommand() *cobra.Command {
	var force bool
	cmd := s.secretFlags(&cobra.Command{
		Use:   "write PATH [K=V...] [@FILE.json] [-]",
		Short: "Write data, configuration and roles",
		Long: `Write data, configuration and roles.

K=V sends a string; K=@FILE the content of a file; K=\@TEXT a string that
begins with "@"; @FILE.json and - a JSON object from a file or standard input.`,
		Example: `  curfew write database/roles/readonly db_name=app creation_statements=@create.sql default_ttl=1h
  curfew write -force database/rotate-root/app`,
		Args: arguments(1, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 && !force {
				return usage(cmd, "Must supply data or use -force")
			}
			return s.write(cmd, cleanPath(args[0]), args[1:])
		},
	})
	cmd.Flags().BoolVarP(&force, "force", "f", false, "write without data")
	return cmd
}

func (s *session) write(cmd *cobra.Command, path string, args []string) error {
	data, err := keyValues(args, s.io.Stdin)
	if err != nil {
		return usage(cmd, "Invalid K=V data: %s", err)
	}
	client, err := s.client()
	if err != nil {
		return err
	}
	secret, err := client.Logical().WriteWithContext(cmd.Context(), path, data)
	if err != nil {
		return refused(err, "Error writing data to %s", path)
	}
	if secret == nil {
		s.success("Success! Data written to: %s", path)
		return nil
	}
	return s.printSecret(secret)
}

func (s *session) listCommand() *cobra.Command {
	return s.clientFlags(&cobra.Command{
		Use:     "list PATH",
		Short:   "List what is below a path",
		Example: `  curfew list sys/leases/lookup/database/creds/readonly`,
		Args:    arguments(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path := cleanPath(args[0])
			client, err := s.client()
			if err != nil {
				return err
			}
			secret, err := client.Logical().ListWithContext(cmd.Context(), path)
			if err != nil {
				return refused(err, "Error listing %s", path)
			}
			return s.printList(secret, path)
		},
	})
}

// printList prints a list's keys. Nothing there exits 2, with an empty object
// in JSON, which is what scripts for the stock CLI expect.
func (s *session) printList(secret *api.Secret, path string) error {
	if secret != nil && secret.WrapInfo != nil {
		return s.printSecret(secret)
	}
	if secret != nil {
		if s.flags.format == formatTable {
			s.printWarnings(secret.Warnings)
		}
		if keys, ok := secret.Data["keys"].([]any); ok && len(keys) > 0 {
			return s.printKeys(keys)
		}
	}
	if s.structured() {
		if err := s.printStructured(struct{}{}); err != nil {
			return err
		}
		return &ExitError{Code: codeServer}
	}
	return absent("No value found at %s", path)
}

func (s *session) deleteCommand() *cobra.Command {
	return s.secretFlags(&cobra.Command{
		Use:   "delete PATH [K=V...]",
		Short: "Delete what is at a path",
		Args:  arguments(1, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path := cleanPath(args[0])
			query, err := queryValues(args[1:], s.io.Stdin)
			if err != nil {
				return usage(cmd, "Invalid K=V data: %s", err)
			}
			client, err := s.client()
			if err != nil {
				return err
			}
			secret, err := client.Logical().DeleteWithDataWithContext(cmd.Context(), path, query)
			if err != nil {
				return refused(err, "Error deleting %s", path)
			}
			if secret == nil {
				s.success("Success! Data deleted (if it existed) at: %s", path)
				return nil
			}
			return s.printSecret(secret)
		},
	})
}

// cleanPath drops the slashes around a path that people and completion add.
func cleanPath(path string) string { return strings.Trim(strings.TrimSpace(path), "/") }
