package cli

import (
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
	cmd := s.clientFlags(&cobra.Command{
		Use:   "revoke LEASE_ID",
		Short: "Take a credential away, or with -prefix all below a path",
		Example: `  curfew lease revoke -sync database/creds/readonly/abc
  curfew lease revoke -prefix -dry-run database/creds
  curfew lease revoke -prefix database/creds`,
		Args: arguments(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if options.Force && !options.Prefix {
				return usage(cmd, "Specifying -force requires also specifying -prefix")
			}
			options.LeaseID = cleanPath(args[0])
			if dryRun {
				return s.leasePreview(cmd, options)
			}
			return s.revoke(cmd, options)
		},
	})
	flags := cmd.Flags()
	flags.BoolVar(&options.Sync, "sync", false, "wait until access has ended")
	flags.BoolVar(&options.Prefix, "prefix", false, "revoke all leases below this path")
	flags.BoolVar(&dryRun, "dry-run", false, "show what would be revoked, and revoke nothing; needs -prefix")
	flags.BoolVarP(&options.Force, "force", "f", false, "give the leases up although revoking fails; needs -prefix")
	return cmd
}

func (s *session) revoke(cmd *cobra.Command, options api.RevokeOptions) error {
	client, err := s.client()
	if err != nil {
		return err
	}
	if options.Force {
		s.warn("Warning! Force-removing leases can cause Curfew to become out of sync with secret engines!")
	}
	err = client.Sys().RevokeWithOptionsWithContext(cmd.Context(), &options)
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
