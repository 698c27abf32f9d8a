package cli

import (
	"context"
	"fmt"
	"strconv"

	"github.com/hashicorp/vault/api"
	"github.com/spf13/cobra"
)

func (s *session) secretsEnableCommand() *cobra.Command {
	var mount newMount
	cmd := s.clientFlags(&cobra.Command{
		Use:     "enable TYPE",
		Short:   "Enable a secrets engine",
		Example: `  curfew secrets enable -path=db2 -max-lease-ttl=24h database`,
		Args:    arguments(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := s.client()
			if err != nil {
				return err
			}
			at, input := mount.request(args[0])
			if err := client.Sys().MountWithContext(cmd.Context(), at, input); err != nil {
				return refused(err, "Error enabling")
			}
			s.success("Success! Enabled the %s secrets engine at: %s/", input.Type, at)
			return nil
		},
	})
	mount.flags(cmd.Flags(), "leases")
	cmd.Flags().BoolVar(&mount.input.Config.ForceNoCache, "force-no-cache", false, "do not cache its reads")
	return cmd
}

func (s *session) secretsTuneCommand() *cobra.Command {
	var change mountChange
	cmd := s.clientFlags(&cobra.Command{
		Use:     "tune PATH",
		Short:   "Change a secrets engine's settings",
		Example: `  curfew secrets tune -max-lease-ttl=20m db2`,
		Args:    arguments(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := s.client()
			if err != nil {
				return err
			}
			at := cleanPath(args[0])
			if err := client.Sys().TuneMountAllowNilWithContext(cmd.Context(), at, change.request(cmd.Flags())); err != nil {
				return refused(err, "Error tuning secrets engine %s/", at)
			}
			s.success("Success! Tuned the secrets engine at: %s/", at)
			return nil
		},
	})
	change.flags(cmd.Flags(), "leases")
	return cmd
}

func (s *session) secretsDisableCommand() *cobra.Command {
	return s.mountDisableCommand("Disable a secrets engine and revoke its leases", "secrets engine", func(ctx context.Context, c *api.Client, at string) error {
		return c.Sys().UnmountWithContext(ctx, at)
	})
}

func (s *session) secretsListCommand() *cobra.Command {
	return s.mountListCommand("List the secrets engines", "secrets engines", simpleMounts, detailedMounts,
		func(ctx context.Context, c *api.Client) (map[string]*api.MountOutput, error) {
			return c.Sys().ListMountsWithContext(ctx)
		})
}

func simpleMounts(mounts map[string]*api.MountOutput) string {
	return mountTable(mounts, []string{"Path", "Type", "Accessor", "Description"}, func(m *api.MountOutput) []string {
		return []string{m.Type, m.Accessor, m.Description}
	})
}

func detailedMounts(mounts map[string]*api.MountOutput) string {
	return mountTable(mounts, []string{
		"Path", "Plugin", "Accessor", "Default TTL", "Max TTL", "Force No Cache", "Replication", "Seal Wrap",
		"External Entropy Access", "Options", "Description", "UUID", "Version", "Running Version", "Running SHA256",
		"Deprecation Status",
	}, func(m *api.MountOutput) []string {
		return []string{
			m.Type, m.Accessor, mountTTL(m.Config.DefaultLeaseTTL), mountTTL(m.Config.MaxLeaseTTL),
			strconv.FormatBool(m.Config.ForceNoCache), replication(m), strconv.FormatBool(m.SealWrap),
			strconv.FormatBool(m.ExternalEntropyAccess), fmt.Sprint(m.Options), m.Description, m.UUID,
			m.PluginVersion, m.RunningVersion, m.RunningSha256, m.DeprecationStatus,
		}
	})
}
