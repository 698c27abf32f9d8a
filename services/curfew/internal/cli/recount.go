package cli

import "github.com/spf13/cobra"

// operatorRecountCommand has the counts that quotas go by compared with the
// leases.
func (s *session) operatorRecountCommand() *cobra.Command {
	return s.clientFlags(&cobra.Command{
		Use:   "recount",
		Short: "Compare the counts of leases that quotas go by with the leases, and mend them",
		Args:  arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := s.client()
			if err != nil {
				return err
			}
			if _, err := client.Logical().WriteWithContext(cmd.Context(), "sys/leases/recount", nil); err != nil {
				return refused(err, "Error asking for a recount")
			}
			s.success("Success! A recount was asked for; %q shows what came of it", "curfew read sys/leases/recount")
			return nil
		},
	})
}
