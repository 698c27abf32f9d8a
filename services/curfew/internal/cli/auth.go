package cli

import (
	"context"
	"fmt"
	"strconv"

	"github.com/hashicorp/vault/api"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func (s *session) authEnableCommand() *cobra.Command {
	var mount newMount
	cmd := s.clientFlags(&cobra.Command{
		Use:     "enable TYPE",
		Short:   "Enable an auth method",
		Example: `  curfew auth enable -path=apps -max-lease-ttl=24h approle`,
		Args:    arguments(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := s.client()
			if err != nil {
				return err
			}
			at, input := mount.request(args[0])
			if err := client.Sys().EnableAuthWithOptionsWithContext(cmd.Context(), at, input); err != nil {
				return refused(err, "Error enabling %s auth", input.Type)
			}
			s.success("Success! Enabled %s auth method at: %s/", input.Type, at)
			return nil
		},
	})
	flags := cmd.Flags()
	mount.flags(flags, "tokens")
	flags.StringVar(&mount.input.Config.ListingVisibility, "listing-visibility", "", `"unauth" names the mount to requests without a token`)
	flags.StringVar(&mount.input.Config.TokenType, "token-type", "", "kind of its tokens: service")
	return cmd
}

func (s *session) authTuneCommand() *cobra.Command {
	var (
		change  mountChange
		methods authChange
	)
	cmd := s.clientFlags(&cobra.Command{
		Use:     "tune PATH",
		Short:   "Change an auth method's settings",
		Example: `  curfew auth tune -max-lease-ttl=20m -user-lockout-threshold=10 approle`,
		Args:    arguments(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := s.client()
			if err != nil {
				return err
			}
			at := cleanPath(args[0])
			config := change.request(cmd.Flags())
			methods.add(&config, cmd.Flags())
			if err := client.Sys().TuneMountAllowNilWithContext(cmd.Context(), "auth/"+at, config); err != nil {
				return refused(err, "Error tuning auth method %s/", at)
			}
			s.success("Success! Tuned the auth method at: %s/", at)
			return nil
		},
	})
	change.flags(cmd.Flags(), "tokens")
	methods.flags(cmd.Flags())
	return cmd
}

// authChange is what "auth tune" has beside the settings of every mount.
type authChange struct {
	visibility, tokenType string
	threshold             uint
	lockout, reset        duration
	disable               bool
}

func (a *authChange) flags(flags *pflag.FlagSet) {
	flags.StringVar(&a.visibility, "listing-visibility", "", `"unauth" names the mount to requests without a token, "hidden" does not`)
	flags.StringVar(&a.tokenType, "token-type", "", "kind of its tokens: service")
	flags.UintVar(&a.threshold, "user-lockout-threshold", 0, "failed logins that lock an alias")
	flags.Var(&a.lockout, "user-lockout-duration", "time that an alias stays locked")
	flags.Var(&a.reset, "user-lockout-counter-reset-duration", "time without a failed login after which the count starts anew")
	flags.BoolVar(&a.disable, "user-lockout-disable", false, "lock no alias")
}

// add puts the settings that were given on the command line into config.
func (a *authChange) add(config *api.TuneMountConfigInput, given *pflag.FlagSet) {
	if given.Changed("listing-visibility") {
		config.ListingVisibility = &a.visibility
	}
	if given.Changed("token-type") {
		config.TokenType = &a.tokenType
	}
	var lockout api.TuneUserLockoutConfigInput
	if given.Changed("user-lockout-threshold") {
		lockout.LockoutThreshold = new(strconv.FormatUint(uint64(a.threshold), 10))
	}
	if given.Changed("user-lockout-duration") {
		lockout.LockoutDuration = new(a.lockout.String())
	}
	if given.Changed("user-lockout-counter-reset-duration") {
		lockout.LockoutCounterResetDuration = new(a.reset.String())
	}
	if given.Changed("user-lockout-disable") {
		lockout.DisableLockout = &a.disable
	}
	if lockout != (api.TuneUserLockoutConfigInput{}) {
		config.UserLockoutConfig = &lockout
	}
}

func (s *session) authDisableCommand() *cobra.Command {
	return s.mountDisableCommand("Disable an auth method and revoke its tokens", "auth method", func(ctx context.Context, c *api.Client, at string) error {
		return c.Sys().DisableAuthWithContext(ctx, at)
	})
}

func (s *session) authListCommand() *cobra.Command {
	return s.mountListCommand("List the auth methods", "enabled authentications", simpleMethods, detailedMethods,
		func(ctx context.Context, c *api.Client) (map[string]*api.MountOutput, error) {
			return c.Sys().ListAuthWithContext(ctx)
		})
}

func simpleMethods(mounts map[string]*api.AuthMount) string {
	return mountTable(mounts, []string{"Path", "Type", "Accessor", "Description", "Version"}, func(m *api.MountOutput) []string {
		return []string{m.Type, m.Accessor, m.Description, m.PluginVersion}
	})
}

func detailedMethods(mounts map[string]*api.AuthMount) string {
	return mountTable(mounts, []string{
		"Path", "Plugin", "Accessor", "Default TTL", "Max TTL", "Token Type", "Replication", "Seal Wrap",
		"External Entropy Access", "Options", "Description", "UUID", "Version", "Running Version", "Running SHA256",
		"Deprecation Status",
	}, func(m *api.MountOutput) []string {
		return []string{
			m.Type, m.Accessor, mountTTL(m.Config.DefaultLeaseTTL), mountTTL(m.Config.MaxLeaseTTL),
			m.Config.TokenType, replication(m), strconv.FormatBool(m.SealWrap),
			strconv.FormatBool(m.ExternalEntropyAccess), fmt.Sprint(m.Options), m.Description, m.UUID,
			m.PluginVersion, m.RunningVersion, m.RunningSha256, m.DeprecationStatus,
		}
	})
}
