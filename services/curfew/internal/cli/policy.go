package cli

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

func (s *session) policyWriteCommand() *cobra.Command {
	return s.clientFlags(&cobra.Command{
		Use:   "write NAME FILE|-",
		Short: "Write a policy from a file or standard input",
		Long: `Write a policy from a file or, with "-", standard input. It is in HCL or JSON,
and takes the place of the policy that had the name.`,
		Example: `  curfew policy write app-readonly app-readonly.hcl`,
		Args:    arguments(2, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			name := policyName(args[0])
			rules, err := s.policyRules(args[1])
			if err != nil {
				return local(err, "Error reading policy")
			}
			client, err := s.client()
			if err != nil {
				return err
			}
			if err := client.Sys().PutPolicyWithContext(cmd.Context(), name, rules); err != nil {
				return refused(err, "Error uploading policy")
			}
			s.success("Success! Uploaded policy: %s", name)
			return nil
		},
	})
}

// policyRules is the text of a policy, byte for byte.
func (s *session) policyRules(from string) (string, error) {
	if from == "-" {
		content, err := io.ReadAll(s.io.Stdin)
		return string(content), err
	}
	content, err := os.ReadFile(from) //nolint:gosec // the user names the file
	return string(content), err
}

func (s *session) policyReadCommand() *cobra.Command {
	return s.clientFlags(&cobra.Command{
		Use:   "read NAME",
		Short: "Print a policy",
		Args:  arguments(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := s.client()
			if err != nil {
				return err
			}
			name := policyName(args[0])
			rules, err := client.Sys().GetPolicyWithContext(cmd.Context(), name)
			switch {
			case err != nil:
				return refused(err, "Error reading policy named %s", name)
			case rules == "": // root has no text either, and reads so on stock servers
				return absent("No policy named: %s", name)
			case s.structured():
				return s.printStructured(map[string]string{"policy": rules})
			}
			fmt.Fprintln(s.out, strings.TrimSpace(rules))
			return nil
		},
	})
}

func (s *session) policyListCommand() *cobra.Command {
	return s.clientFlags(&cobra.Command{
		Use:   "list",
		Short: "List the policies",
		Args:  arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := s.client()
			if err != nil {
				return err
			}
			names, err := client.Sys().ListPoliciesWithContext(cmd.Context())
			if err != nil {
				return refused(err, "Error listing policies")
			}
			if s.structured() {
				return s.printStructured(names)
			}
			for _, name := range names {
				fmt.Fprintln(s.out, name)
			}
			return nil
		},
	})
}

func (s *session) policyDeleteCommand() *cobra.Command {
	return s.clientFlags(&cobra.Command{
		Use:   "delete NAME",
		Short: "Delete a policy; tokens keep its name, and it allows them nothing",
		Args:  arguments(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := s.client()
			if err != nil {
				return err
			}
			name := policyName(args[0])
			if err := client.Sys().DeletePolicyWithContext(cmd.Context(), name); err != nil {
				return refused(err, "Error deleting %s", name)
			}
			s.success("Success! Deleted policy: %s", name)
			return nil
		},
	})
}

// policyName is the name as servers keep it.
func policyName(text string) string { return strings.ToLower(strings.TrimSpace(text)) }
