package cli

import (
	"context"

	"github.com/hashicorp/vault/api"
	"github.com/spf13/cobra"
)

func (s *session) leaseLookupCommand() *cobra.Command {
	return s.secretFlags(&cobra.Command{
		Use:   "lookup LEASE_ID",
		Short: "Show a lease",
		Args:  arguments(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := s.client()
			if err != nil {
				return err
			}
			id := cleanPath(args[0])
			secret, err := client.Sys().LookupWithContext(cmd.Context(), id)
			if err != nil {
				return refused(err, "error looking up lease id %s", id)
			}
			if secret == nil {
				return absent("No lease found with id %s", id)
			}
			return s.printSecret(secret)
		},
	})
}

func (s *session) leaseRenewCommand() *cobra.Command {
	var increment duration
	cmd := s.secretFlags(&cobra.Command{
		Use:     "renew LEASE_ID",
		Short:   "Extend a lease",
		Example: `  curfew lease renew -increment=2h database/creds/readonly/abc`,
		Args:    arguments(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := s.client()
			if err != nil {
				return err
			}
			id := cleanPath(args[0])
			secret, err := client.Sys().RenewWithContext(cmd.Context(), id, increment.Seconds())
			if err != nil {
				return refused(err, "Error renewing %s", id)
			}
			if secret == nil {
				return absent("No lease found with id %s", id)
			}
			return s.printSecret(secret)
		},
	})
	cmd.Flags().VarP(&increment, "increment", "i", "time from now that the lease is to live (default: its TTL)")
	return cmd
}

func (s *session) leaseRevokeCommand() *cobra.Command {
	var options api.RevokeOptions
	var dryRun bool
	var reason string
	cmd := s.clientFlags(&cobra.Command{
		Use:   "revoke LEASE_ID",
		Short: "Take a credential away, or with -prefix all below a path",
		Example: `  curfew lease revoke -sync database/creds/readonly/abc
  curfew lease revoke -prefix -dry-run database/creds
  curfew lease revoke -prefix database/creds
  curfew lease revoke -force -reason="server is gone" database/creds/readonly/abc`,
		Args: arguments(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if options.Force && !options.Prefix && reason == "" {
				return usage(cmd, "Specifying -force requires also specifying -prefix")
			}
			if reason != "" && !options.Force && !options.Prefix {
				return usage(cmd, "Specifying -reason requires also specifying -prefix or -force")
			}
			options.LeaseID = cleanPath(args[0])
			switch {
			case dryRun:
				return s.leasePreview(cmd, options)
			case options.Force && !options.Prefix:
				return s.abandon(cmd, options.LeaseID, reason)
			}
			return s.revoke(cmd, options, reason)
		},
	})
	flags := cmd.Flags()
	flags.BoolVar(&options.Sync, "sync", false, "wait until access has ended")
	flags.BoolVar(&options.Prefix, "prefix", false, "revoke all leases below this path")
	flags.BoolVar(&dryRun, "dry-run", false, "show what would be revoked, and revoke nothing; needs -prefix")
	flags.BoolVarP(&options.Force, "force", "f", false, "give up what cannot be revoked; needs -prefix, or -reason for one lease")
	flags.StringVar(&reason, "reason", "", "why, for the record; with -prefix or -force")
	return cmd
}

const outOfSync = "Warning! Force-removing leases can cause Curfew to become out of sync with secret engines!"

// abandon gives one lease up, with a reason.
func (s *session) abandon(cmd *cobra.Command, id, reason string) error {
	client, err := s.client()
	if err != nil {
		return err
	}
	s.warn(outOfSync)
	secret, err := client.Logical().WriteWithContext(cmd.Context(), "sys/leases/abandon/"+id, map[string]any{"reason": reason})
	if err != nil {
		return refused(err, "Error force revoking lease %s", id)
	}
	if secret != nil && secret.Data["state"] != "abandoned" {
		s.success("Success! Revoked lease: %s", id)
		return nil
	}
	s.success("Success! Abandoned lease: %s", id)
	return nil
}

// revokeWith is what the library does, with a reason.
func revokeWith(ctx context.Context, client *api.Client, options api.RevokeOptions, reason string) error {
	if reason == "" {
		return client.Sys().RevokeWithOptionsWithContext(ctx, &options)
	}
	verb := "revoke-prefix/"
	if options.Force {
		verb = "revoke-force/"
	}
	_, err := client.Logical().WriteWithContext(ctx, "sys/leases/"+verb+options.LeaseID, map[string]any{"reason": reason, "sync": options.Sync})
	return err
}

func (s *session) revoke(cmd *cobra.Command, options api.RevokeOptions, reason string) error {
	client, err := s.client()
	if err != nil {
		return err
	}
	if options.Force {
		s.warn(outOfSync)
	}
	err = revokeWith(cmd.Context(), client, options, reason)
	id := options.LeaseID
	switch {
	case err != nil && options.Force:
		return refused(err, "Error force revoking leases with prefix %s", id)
	case err != nil && options.Prefix:
		return refused(err, "Error revoking leases with prefix %s", id)
	case err != nil:
		return refused(err, "Error revoking lease %s", id)
	case options.Force:
		s.success("Success! Force revoked any leases with prefix: %s", id)
	case !options.Sync:
		s.success("All revocation operations queued successfully!")
	case options.Prefix:
		s.success("Success! Revoked any leases with prefix: %s", id)
	default:
		s.success("Success! Revoked lease: %s", id)
	}
	return nil
}
