package cli

import (
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/hashicorp/vault/api"
	"github.com/spf13/cobra"

	"github.com/curfew-project/curfew/services/curfew/internal/cli/internal/format"
)

func (s *session) secretsEnableCommand() *cobra.Command {
	var (
		mount              api.MountInput
		path               string
		defaultTTL, maxTTL duration
		options            = textMap{}
	)
	cmd := s.clientFlags(&cobra.Command{
		Use:     "enable TYPE",
		Short:   "Enable a secrets engine",
		Example: `  curfew secrets enable -path=db2 -max-lease-ttl=24h database`,
		Args:    arguments(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			mount.Type = args[0]
			mount.Config.DefaultLeaseTTL, mount.Config.MaxLeaseTTL = defaultTTL.String(), maxTTL.String()
			if len(options) > 0 {
				mount.Options = options
			}
			at := cleanPath(path)
			if at == "" {
				at = cleanPath(mount.Type)
			}
			client, err := s.client()
			if err != nil {
				return err
			}
			if err := client.Sys().MountWithContext(cmd.Context(), at, &mount); err != nil {
				return refused(err, "Error enabling")
			}
			s.success("Success! Enabled the %s secrets engine at: %s/", mount.Type, at)
			return nil
		},
	})
	flags := cmd.Flags()
	flags.StringVar(&path, "path", "", "where to mount it (default: the type)")
	flags.StringVar(&mount.Description, "description", "", "what it is for")
	flags.Var(&defaultTTL, "default-lease-ttl", "TTL of leases that ask for none (default: the system's)")
	flags.Var(&maxTTL, "max-lease-ttl", "longest TTL of its leases (default: the system's)")
	flags.Var(options, "options", "engine option; may be repeated")
	flags.BoolVar(&mount.Local, "local", false, "do not replicate the mount")
	flags.BoolVar(&mount.SealWrap, "seal-wrap", false, "seal-wrap its storage")
	flags.BoolVar(&mount.Config.ForceNoCache, "force-no-cache", false, "do not cache its reads")
	return cmd
}

func (s *session) secretsTuneCommand() *cobra.Command {
	var (
		description        string
		defaultTTL, maxTTL duration
	)
	cmd := s.clientFlags(&cobra.Command{
		Use:     "tune PATH",
		Short:   "Change a secrets engine's settings",
		Example: `  curfew secrets tune -max-lease-ttl=20m db2`,
		Args:    arguments(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			// A TTL that was not given travels as the empty string: "leave it".
			var defaultText, maxText string
			if cmd.Flags().Changed("default-lease-ttl") {
				defaultText = defaultTTL.String()
			}
			if cmd.Flags().Changed("max-lease-ttl") {
				maxText = maxTTL.String()
			}
			config := api.TuneMountConfigInput{
				Options:         new(map[string]string),
				DefaultLeaseTTL: &defaultText,
				MaxLeaseTTL:     &maxText,
				ForceNoCache:    new(bool),
			}
			if cmd.Flags().Changed("description") {
				config.Description = &description
			}
			client, err := s.client()
			if err != nil {
				return err
			}
			at := cleanPath(args[0])
			if err := client.Sys().TuneMountAllowNilWithContext(cmd.Context(), at, config); err != nil {
				return refused(err, "Error tuning secrets engine %s/", at)
			}
			s.success("Success! Tuned the secrets engine at: %s/", at)
			return nil
		},
	})
	flags := cmd.Flags()
	flags.StringVar(&description, "description", "", "what it is for")
	flags.Var(&defaultTTL, "default-lease-ttl", "TTL of leases that ask for none; 0 for the system's")
	flags.Var(&maxTTL, "max-lease-ttl", "longest TTL of its leases; 0 for the system's")
	return cmd
}

func (s *session) secretsDisableCommand() *cobra.Command {
	return s.clientFlags(&cobra.Command{
		Use:   "disable PATH",
		Short: "Disable a secrets engine and revoke its leases",
		Args:  arguments(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := s.client()
			if err != nil {
				return err
			}
			at := cleanPath(args[0])
			if err := client.Sys().UnmountWithContext(cmd.Context(), at); err != nil {
				return refused(err, "Error disabling secrets engine at %s/", at)
			}
			s.success("Success! Disabled the secrets engine (if it existed) at: %s/", at)
			return nil
		},
	})
}

func (s *session) secretsListCommand() *cobra.Command {
	var detailed bool
	cmd := s.clientFlags(&cobra.Command{
		Use:   "list",
		Short: "List the secrets engines",
		Args:  arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := s.client()
			if err != nil {
				return err
			}
			mounts, err := client.Sys().ListMountsWithContext(cmd.Context())
			if err != nil {
				return refused(err, "Error listing secrets engines")
			}
			switch {
			case s.flags.format == formatJSON:
				return s.printJSON(mounts)
			case detailed:
				fmt.Fprint(s.out, detailedMounts(mounts))
			default:
				fmt.Fprint(s.out, simpleMounts(mounts))
			}
			return nil
		},
	})
	cmd.Flags().BoolVar(&detailed, "detailed", false, "all settings, replication and versions")
	return cmd
}

func simpleMounts(mounts map[string]*api.MountOutput) string {
	var rows [][]string
	for _, path := range slices.Sorted(maps.Keys(mounts)) {
		m := mounts[path]
		rows = append(rows, []string{path, m.Type, m.Accessor, m.Description})
	}
	return format.Table([]string{"Path", "Type", "Accessor", "Description"}, rows)
}

func detailedMounts(mounts map[string]*api.MountOutput) string {
	header := []string{
		"Path", "Plugin", "Accessor", "Default TTL", "Max TTL", "Force No Cache", "Replication", "Seal Wrap",
		"External Entropy Access", "Options", "Description", "UUID", "Version", "Running Version", "Running SHA256",
		"Deprecation Status",
	}
	var rows [][]string
	for _, path := range slices.Sorted(maps.Keys(mounts)) {
		m := mounts[path]
		replication := "replicated"
		if m.Local {
			replication = "local"
		}
		rows = append(rows, []string{
			path, m.Type, m.Accessor, mountTTL(m.Config.DefaultLeaseTTL), mountTTL(m.Config.MaxLeaseTTL),
			strconv.FormatBool(m.Config.ForceNoCache), replication, strconv.FormatBool(m.SealWrap),
			strconv.FormatBool(m.ExternalEntropyAccess), fmt.Sprint(m.Options), m.Description, m.UUID,
			m.PluginVersion, m.RunningVersion, m.RunningSha256, m.DeprecationStatus,
		})
	}
	return format.Table(header, rows)
}

// mountTTL reads a mount's own limit; without one the system's holds.
func mountTTL(seconds int) string {
	if seconds == 0 {
		return "system"
	}
	return strconv.Itoa(seconds)
}
