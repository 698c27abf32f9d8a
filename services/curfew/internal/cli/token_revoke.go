package cli

import (
	"context"
	"strings"

	"github.com/hashicorp/vault/api"
	"github.com/spf13/cobra"
)

func (s *session) tokenRevokeCommand() *cobra.Command {
	var which revocation
	cmd := s.clientFlags(&cobra.Command{
		Use:   "revoke [TOKEN | ACCESSOR | PATH]",
		Short: "Revoke a token and the leases it created",
		Args:  cobra.ArbitraryArgs, // depends on the flags
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := which.check(cmd, args); err != nil {
				return err
			}
			client, err := s.client()
			if err != nil {
				return err
			}
			if err := which.run(cmd.Context(), client, firstOr(args, "")); err != nil {
				return refused(err, "Error revoking token")
			}
			s.success("Success! Revoked token (if it existed)")
			return nil
		},
	})
	flags := cmd.Flags()
	flags.BoolVar(&which.self, "self", false, "revoke the token that makes the request")
	flags.BoolVar(&which.accessor, "accessor", false, "the argument is an accessor")
	flags.StringVar(&which.mode, "mode", "", "orphan: its child tokens live on; path: all tokens created below a path")
	return cmd
}

// revocation is which tokens "token revoke" takes away.
type revocation struct {
	self, accessor bool
	mode           string
}

func (r *revocation) check(cmd *cobra.Command, args []string) error {
	switch {
	case r.self && len(args) > 0:
		return usage(cmd, "Too many arguments with -self (expected 0, got %d)", len(args))
	case !r.self && len(args) > 1:
		return usage(cmd, "Too many arguments (expected 1 or -self, got %d)", len(args))
	case !r.self && len(args) == 0:
		return usage(cmd, "Not enough arguments (expected 1 or -self, got 0)")
	case r.self && r.accessor, r.mode != "" && (r.self || r.accessor):
		return usage(cmd, "-self, -accessor and -mode exclude each other")
	case r.mode != "" && r.mode != "orphan" && r.mode != "path":
		return usage(cmd, "Invalid mode %q (want orphan or path)", r.mode)
	case r.mode == "path" && !strings.HasPrefix(cleanPath(args[0]), "auth/"):
		// It may be a token, which does not belong into a URL, and other paths
		// hold other leases.
		return usage(cmd, "With -mode=path the argument is a path that begins with auth/")
	}
	return nil
}

func (r *revocation) run(ctx context.Context, client *api.Client, argument string) error {
	tokens := client.Auth().Token()
	switch {
	case r.self:
		return tokens.RevokeSelfWithContext(ctx, "") // its argument is of no use
	case r.accessor:
		return tokens.RevokeAccessorWithContext(ctx, argument)
	case r.mode == "orphan":
		return tokens.RevokeOrphanWithContext(ctx, argument)
	case r.mode == "path":
		return client.Sys().RevokePrefixWithContext(ctx, cleanPath(argument))
	}
	return tokens.RevokeTreeWithContext(ctx, argument)
}
