package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// pathHelpCommand prints what the server says of a path.
func (s *session) pathHelpCommand() *cobra.Command {
	return s.clientFlags(&cobra.Command{
		Use:   "path-help PATH",
		Short: "Explain a path of the server",
		Example: `  curfew path-help database
  curfew path-help sys/leases/revoke-prefix/database/creds`,
		Args: arguments(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := s.client()
			if err != nil {
				return err
			}
			help, err := client.HelpWithContext(cmd.Context(), cleanPath(args[0]))
			if err != nil {
				return refused(err, "Error retrieving help for %s", cleanPath(args[0]))
			}
			if s.structured() {
				return s.printStructured(help)
			}
			fmt.Fprintln(s.out, strings.TrimSuffix(help.Help, "\n"))
			return nil
		},
	})
}
