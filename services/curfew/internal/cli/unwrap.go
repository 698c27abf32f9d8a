package cli

import (
	"strings"

	"github.com/spf13/cobra"
)

func (s *session) unwrapCommand() *cobra.Command {
	return s.secretFlags(&cobra.Command{
		Use:   "unwrap [TOKEN]",
		Short: "Open a wrapped answer, once",
		Long: `Open a wrapped answer. It can be opened once: where that fails, somebody else has
opened it or its time is over.

Without an argument the client's own token is the wrapping token.`,
		Example: `  curfew unwrap s.jIqohIKsZTGoQwFFE5J9BYLV
  CURFEW_TOKEN=s.jIqohIKsZTGoQwFFE5J9BYLV curfew unwrap`,
		Args: arguments(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := s.client()
			if err != nil {
				return err
			}
			secret, err := client.Logical().UnwrapWithContext(cmd.Context(), strings.TrimSpace(firstOr(args, "")))
			if err != nil {
				return refused(err, "Error unwrapping")
			}
			if secret == nil {
				return absent("Could not find wrapped response")
			}
			return s.printSecret(secret)
		},
	})
}
