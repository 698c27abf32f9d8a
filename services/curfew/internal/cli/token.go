package cli

import (
	"context"

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

func (s *session) tokenRevokeCommand() *cobra.Command {
	var (
		self, accessor bool
		mode           string
	)
	cmd := s.clientFlags(&cobra.Command{
		Use:   "revoke [TOKEN | ACCESSOR]",
		Short: "Revoke a token and the leases it created",
		Args:  cobra.ArbitraryArgs, // depends on the flags
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case self && len(args) > 0:
				return usage(cmd, "Too many arguments with -self (expected 0, got %d)", len(args))
			case !self && len(args) > 1:
				return usage(cmd, "Too many arguments (expected 1 or -self, got %d)", len(args))
			case !self && len(args) == 0:
				return usage(cmd, "Not enough arguments (expected 1 or -self, got 0)")
			case self && accessor, mode != "" && (self || accessor):
				return usage(cmd, "-self, -accessor and -mode exclude each other")
			case mode != "" && mode != "orphan":
				return usage(cmd, "Invalid mode %q (want orphan)", mode)
			}
			client, err := s.client()
			if err != nil {
				return err
			}
			revoke := revokeSelf
			switch {
			case accessor:
				revoke = (*api.TokenAuth).RevokeAccessorWithContext
			case mode == "orphan":
				revoke = (*api.TokenAuth).RevokeOrphanWithContext
			case !self:
				revoke = (*api.TokenAuth).RevokeTreeWithContext
			}
			if err := revoke(client.Auth().Token(), cmd.Context(), firstOr(args, "")); err != nil {
				return refused(err, "Error revoking token")
			}
			s.success("Success! Revoked token (if it existed)")
			return nil
		},
	})
	flags := cmd.Flags()
	flags.BoolVar(&self, "self", false, "revoke the token that makes the request")
	flags.BoolVar(&accessor, "accessor", false, "the argument is an accessor")
	flags.StringVar(&mode, "mode", "", "orphan: its child tokens live on")
	return cmd
}

// revokeSelf has the shape of the other ways to revoke; the request carries no
// token but the client's.
func revokeSelf(tokens *api.TokenAuth, ctx context.Context, _ string) error { //nolint:revive // method expressions have the receiver first
	return tokens.RevokeSelfWithContext(ctx, "")
}

func firstOr(args []string, otherwise string) string {
	if len(args) == 0 {
		return otherwise
	}
	return args[0]
}
