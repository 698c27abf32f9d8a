package cli

import (
	"fmt"

	"github.com/hashicorp/vault/api"
	"github.com/spf13/cobra"
)

// operatorInitCommand initialises a server that was started with
// auto_init = false. The key stays in the server's key file; the root token is
// printed this once.
func (s *session) operatorInitCommand() *cobra.Command {
	var shares, threshold int
	cmd := s.clientFlags(&cobra.Command{
		Use:   "init",
		Short: "Initialise a new server and print its root token, once",
		Args:  arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := s.client()
			if err != nil {
				return err
			}
			made, err := client.Sys().InitWithContext(cmd.Context(), &api.InitRequest{SecretShares: shares, SecretThreshold: threshold})
			if err != nil {
				return refused(err, "Error initializing")
			}
			if s.structured() {
				return s.printStructured(made)
			}
			for i, key := range made.Keys {
				fmt.Fprintf(s.out, "Unseal Key %d: %s\n", i+1, key)
			}
			fmt.Fprintf(s.out, "Initial Root Token: %s\n\nSuccess! Curfew is initialized\n", made.RootToken)
			return nil
		},
	})
	cmd.Flags().IntVar(&shares, "key-shares", 1, "parts of the key; the key file holds it in one")
	cmd.Flags().IntVar(&threshold, "key-threshold", 1, "parts needed to unseal")
	return cmd
}
