package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

func (s *session) tokenCapabilitiesCommand() *cobra.Command {
	var accessor bool
	cmd := s.clientFlags(&cobra.Command{
		Use:   "capabilities [TOKEN | ACCESSOR] PATH",
		Short: "Show what a token, by default one's own, may do at a path",
		Example: `  curfew token capabilities database/creds/app-readonly
  curfew token capabilities -accessor DpBRFdXEzyyYtDAwedh9ymLX database/creds/app-readonly`,
		Args: cobra.ArbitraryArgs, // depends on the flags
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case len(args) > 2:
				return usage(cmd, "Too many arguments (expected 1-2, got %d)", len(args))
			case accessor && len(args) < 2:
				return usage(cmd, "Not enough arguments with -accessor (expected 2, got %d)", len(args))
			case len(args) < 1:
				return usage(cmd, "Not enough arguments (expected 1-2, got 0)")
			}
			client, err := s.client()
			if err != nil {
				return err
			}
			var found []string
			path := args[len(args)-1]
			switch {
			case accessor:
				found, err = client.Sys().CapabilitiesAccessorWithContext(cmd.Context(), args[0], path)
			case len(args) == 2:
				found, err = client.Sys().CapabilitiesWithContext(cmd.Context(), args[0], path)
			default:
				found, err = client.Sys().CapabilitiesSelfWithContext(cmd.Context(), path)
			}
			if err != nil {
				return refused(err, "Error listing capabilities")
			}
			return s.printCapabilities(found)
		},
	})
	cmd.Flags().BoolVar(&accessor, "accessor", false, "the first argument is an accessor")
	return cmd
}

func (s *session) printCapabilities(found []string) error {
	if len(found) == 0 {
		return absent("No capabilities found")
	}
	if s.structured() {
		return s.printStructured(found)
	}
	fmt.Fprintln(s.out, strings.Join(slices.Sorted(slices.Values(found)), ", "))
	return nil
}
