package cli

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/hashicorp/vault/api"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/curfew-project/curfew/services/curfew/internal/cli/internal/format"
)

// newMount is what the flags of "enable" say, for a secrets engine and an auth
// method alike.
type newMount struct {
	path               string
	input              api.MountInput
	defaultTTL, maxTTL duration
	options            textMap
}

// flags adds the flags to those of a command; what names the mount in the help.
func (m *newMount) flags(flags *pflag.FlagSet, what string) {
	m.options = textMap{}
	flags.StringVar(&m.path, "path", "", "where to mount it (default: the type)")
	flags.StringVar(&m.input.Description, "description", "", "what it is for")
	flags.Var(&m.defaultTTL, "default-lease-ttl", "TTL of "+what+" that ask for none (default: the system's)")
	flags.Var(&m.maxTTL, "max-lease-ttl", "longest TTL of its "+what+" (default: the system's)")
	flags.Var(m.options, "options", "option of the type; may be repeated")
	flags.BoolVar(&m.input.Local, "local", false, "do not replicate the mount")
	flags.BoolVar(&m.input.SealWrap, "seal-wrap", false, "seal-wrap its storage")
}

// request is where to mount which kind.
func (m *newMount) request(kind string) (at string, input *api.MountInput) {
	m.input.Type = kind
	m.input.Config.DefaultLeaseTTL, m.input.Config.MaxLeaseTTL = m.defaultTTL.String(), m.maxTTL.String()
	if len(m.options) > 0 {
		m.input.Options = m.options
	}
	return cmp.Or(cleanPath(m.path), cleanPath(kind)), &m.input
}

// mountChange is what the flags of "tune" say.
type mountChange struct {
	description        string
	defaultTTL, maxTTL duration
}

func (m *mountChange) flags(flags *pflag.FlagSet, what string) {
	flags.StringVar(&m.description, "description", "", "what it is for")
	flags.Var(&m.defaultTTL, "default-lease-ttl", "TTL of "+what+" that ask for none; 0 for the system's")
	flags.Var(&m.maxTTL, "max-lease-ttl", "longest TTL of its "+what+"; 0 for the system's")
}

// request holds the settings that were given on the command line.
func (m *mountChange) request(given *pflag.FlagSet) api.TuneMountConfigInput {
	// A TTL that was not given travels as the empty string: "leave it".
	var defaultText, maxText string
	if given.Changed("default-lease-ttl") {
		defaultText = m.defaultTTL.String()
	}
	if given.Changed("max-lease-ttl") {
		maxText = m.maxTTL.String()
	}
	config := api.TuneMountConfigInput{
		Options:         new(map[string]string),
		DefaultLeaseTTL: &defaultText,
		MaxLeaseTTL:     &maxText,
		ForceNoCache:    new(bool),
	}
	if given.Changed("description") {
		config.Description = &m.description
	}
	return config
}

// mountTable shows what columns say of each mount, by path.
func mountTable(mounts map[string]*api.MountOutput, header []string, columns func(*api.MountOutput) []string) string {
	var rows [][]string
	for _, path := range slices.Sorted(maps.Keys(mounts)) {
		rows = append(rows, append([]string{path}, columns(mounts[path])...))
	}
	return format.Table(header, rows)
}

// replication reads whether a mount would be replicated.
func replication(m *api.MountOutput) string {
	if m.Local {
		return "local"
	}
	return "replicated"
}

// mountTTL reads a mount's own limit; without one the system's holds.
func mountTTL(seconds int) string {
	if seconds == 0 {
		return "system"
	}
	return strconv.Itoa(seconds)
}

// mountDisableCommand is "disable"; noun is what the mount is called.
func (s *session) mountDisableCommand(short, noun string, disable func(ctx context.Context, c *api.Client, at string) error) *cobra.Command {
	return s.clientFlags(&cobra.Command{
		Use:   "disable PATH",
		Short: short,
		Args:  arguments(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := s.client()
			if err != nil {
				return err
			}
			at := cleanPath(args[0])
			if err := disable(cmd.Context(), client, at); err != nil {
				return refused(err, "Error disabling %s at %s/", noun, at)
			}
			s.success("Success! Disabled the %s (if it existed) at: %s/", noun, at)
			return nil
		},
	})
}

// mountListCommand is "list"; nouns is what the mounts are called.
func (s *session) mountListCommand(
	short, nouns string, simple, detailed func(map[string]*api.MountOutput) string,
	list func(context.Context, *api.Client) (map[string]*api.MountOutput, error),
) *cobra.Command {
	var all bool
	cmd := s.clientFlags(&cobra.Command{
		Use:   "list",
		Short: short,
		Args:  arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := s.client()
			if err != nil {
				return err
			}
			mounts, err := list(cmd.Context(), client)
			if err != nil {
				return refused(err, "Error listing %s", nouns)
			}
			switch {
			case s.structured():
				return s.printStructured(mounts)
			case all:
				fmt.Fprint(s.out, detailed(mounts))
			default:
				fmt.Fprint(s.out, simple(mounts))
			}
			return nil
		},
	})
	cmd.Flags().BoolVar(&all, "detailed", false, "all settings, replication and versions")
	return cmd
}
