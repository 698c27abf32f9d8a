package cli

import (
	"github.com/hashicorp/vault/api"
	"github.com/spf13/cobra"
)

func (s *session) tokenLookupCommand() *cobra.Command {
	var accessor bool
	cmd := s.secretFlags(&cobra.Command{
		Use:   "lookup [TOKEN | ACCESSOR]",
		Short: "Show a token, by default one's own",
		Args:  arguments(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if accessor && len(args) == 0 {
				return usage(cmd, "Not enough arguments with -accessor (expected 1, got 0)")
			}
			client, err := s.client()
			if err != nil {
				return err
			}
			var secret *api.Secret
			tokens := client.Auth().Token()
			switch {
			case accessor:
				secret, err = tokens.LookupAccessorWithContext(cmd.Context(), args[0])
			case len(args) == 1:
				secret, err = tokens.LookupWithContext(cmd.Context(), args[0])
			default:
				secret, err = tokens.LookupSelfWithContext(cmd.Context())
			}
			if err != nil {
				return refused(err, "Error looking up token")
			}
			if secret == nil {
				return absent("No token found")
			}
			return s.printSecret(secret)
		},
	})
	cmd.Flags().BoolVar(&accessor, "accessor", false, "the argument is an accessor")
	return cmd
}

func (s *session) tokenRenewCommand() *cobra.Command {
	var (
		accessor  bool
		increment duration
	)
	cmd := s.secretFlags(&cobra.Command{
		Use:     "renew [TOKEN | ACCESSOR]",
		Short:   "Extend a token, by default one's own",
		Example: `  curfew token renew -increment=2h`,
		Args:    arguments(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if accessor && len(args) == 0 {
				return usage(cmd, "Not enough arguments with -accessor (expected 1, got 0)")
			}
			client, err := s.client()
			if err != nil {
				return err
			}
			var secret *api.Secret
			tokens := client.Auth().Token()
			switch {
			case accessor:
				secret, err = tokens.RenewAccessorWithContext(cmd.Context(), args[0], increment.Seconds())
			case len(args) == 1:
				secret, err = tokens.RenewWithContext(cmd.Context(), args[0], increment.Seconds())
			default:
				secret, err = tokens.RenewSelfWithContext(cmd.Context(), increment.Seconds())
			}
			if err != nil {
				return refused(err, "Error renewing token")
			}
			if secret == nil {
				return absent("No token found")
			}
			return s.printSecret(secret)
		},
	})
	cmd.Flags().BoolVar(&accessor, "accessor", false, "the argument is an accessor")
	cmd.Flags().VarP(&increment, "increment", "i", "time from now that the token is to live (default: its TTL)")
	return cmd
}

func (s *session) tokenCreateCommand() *cobra.Command {
	var (
		request             api.TokenCreateRequest
		ttl, period, maxTTL duration
		renewable           bool
		metadata            = textMap{}
	)
	cmd := s.secretFlags(&cobra.Command{
		Use:     "create",
		Short:   "Create a token",
		Example: `  curfew token create -policy=app-readonly -display-name=app-a -ttl=1h`,
		Args:    arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			request.TTL, request.Period, request.ExplicitMaxTTL = ttl.String(), period.String(), maxTTL.String()
			request.Renewable, request.Metadata = &renewable, metadata
			client, err := s.client()
			if err != nil {
				return err
			}
			secret, err := client.Auth().Token().CreateWithContext(cmd.Context(), &request)
			if err != nil {
				return refused(err, "Error creating token")
			}
			if secret == nil {
				return absent("The server answered without a token")
			}
			return s.printSecret(secret)
		},
	})
	flags := cmd.Flags()
	flags.StringArrayVar(&request.Policies, "policy", nil, "policy of the token; may be repeated")
	flags.StringVar(&request.DisplayName, "display-name", "", "name in user names and the audit log")
	flags.StringVar(&request.Type, "type", "service", "service or batch")
	flags.Var(metadata, "metadata", "K=V kept with the token; may be repeated")
	flags.BoolVar(&request.NoParent, "orphan", false, "the token outlives its parent")
	flags.BoolVar(&request.NoDefaultPolicy, "no-default-policy", false, "leave out the default policy")
	flags.BoolVar(&renewable, "renewable", true, "the token can be renewed")
	flags.IntVar(&request.NumUses, "use-limit", 0, "number of requests it is good for; 0 is no limit")
	flags.Var(&ttl, "ttl", "time to live")
	flags.Var(&period, "period", "each renewal gives this much, for ever")
	flags.Var(&maxTTL, "explicit-max-ttl", "no renewal goes beyond this")
	return cmd
}

func firstOr(args []string, otherwise string) string {
	if len(args) == 0 {
		return otherwise
	}
	return args[0]
}
