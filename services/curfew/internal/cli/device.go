package cli

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/vault/api"
	"github.com/spf13/cobra"

	"github.com/curfew-project/curfew/services/curfew/internal/cli/internal/format"
)

func (s *session) auditEnableCommand() *cobra.Command {
	var path, description string
	var local bool
	cmd := s.clientFlags(&cobra.Command{
		Use:   "enable TYPE [K=V...]",
		Short: "Enable an audit device",
		Example: `  curfew audit enable file file_path=/var/log/vault_audit.log
  curfew audit enable -path=siem file file_path=siem.log mode=0640`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) < 1 {
				return usage(cmd, "Which type of audit device? There is: file")
			}
			options, err := keyValues(args[1:], s.io.Stdin)
			if err != nil {
				return usage(cmd, "Failed to parse options: %s", err)
			}
			texts := make(map[string]string, len(options))
			for name, value := range options {
				text, ok := value.(string)
				if !ok {
					return usage(cmd, "Failed to parse options: %s is there twice", name)
				}
				texts[name] = text
			}
			client, err := s.client()
			if err != nil {
				return err
			}
			kind := strings.TrimSpace(args[0])
			at := cleanPath(cmp.Or(path, kind))
			err = client.Sys().EnableAuditWithOptionsWithContext(cmd.Context(), at, &api.EnableAuditOptions{
				Type: kind, Description: description, Options: texts, Local: local,
			})
			if err != nil {
				return refused(err, "Error enabling audit device")
			}
			s.success("Success! Enabled the %s audit device at: %s/", kind, at)
			return nil
		},
	})
	flags := cmd.Flags()
	flags.StringVar(&path, "path", "", "path of the device (default: the type)")
	flags.StringVar(&description, "description", "", "what it is for")
	flags.BoolVar(&local, "local", false, "do not replicate the device")
	return cmd
}

func (s *session) auditDisableCommand() *cobra.Command {
	return s.clientFlags(&cobra.Command{
		Use:     "disable PATH",
		Short:   "Disable an audit device",
		Example: `  curfew audit disable file/`,
		Args:    arguments(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := s.client()
			if err != nil {
				return err
			}
			at := cleanPath(args[0])
			if err := client.Sys().DisableAuditWithContext(cmd.Context(), at); err != nil {
				return refused(err, "Error disabling audit device")
			}
			s.success("Success! Disabled audit device (if it was enabled) at: %s/", at)
			return nil
		},
	})
}

func (s *session) auditListCommand() *cobra.Command {
	var detailed bool
	cmd := s.clientFlags(&cobra.Command{
		Use:   "list",
		Short: "List the audit devices",
		Args:  arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := s.client()
			if err != nil {
				return err
			}
			// The library's own call loses the warnings, which say what does not write.
			secret, err := client.Logical().ReadWithContext(cmd.Context(), "sys/audit")
			if err != nil {
				return refused(err, "Error listing audits")
			}
			devices, err := auditDevices(secret)
			if err != nil {
				return refused(err, "Error listing audits")
			}
			if s.structured() {
				return s.printStructured(devices)
			}
			s.printWarnings(secret.Warnings)
			if len(devices) == 0 {
				fmt.Fprintln(s.out, "No audit devices are enabled.")
				return &ExitError{Code: codeServer}
			}
			fmt.Fprint(s.out, deviceTable(devices, detailed))
			return nil
		},
	})
	cmd.Flags().BoolVar(&detailed, "detailed", false, "options and replication too")
	return cmd
}

// auditDevices are those of an answer of sys/audit, by path.
func auditDevices(secret *api.Secret) (map[string]*api.Audit, error) {
	if secret == nil {
		return nil, fmt.Errorf("the answer is empty")
	}
	devices := make(map[string]*api.Audit, len(secret.Data))
	for path, value := range secret.Data {
		fields, ok := value.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("%s is no audit device", path)
		}
		d := &api.Audit{Options: map[string]string{}}
		d.Type, _ = fields["type"].(string)
		d.Description, _ = fields["description"].(string)
		d.Local, _ = fields["local"].(bool)
		d.Path, _ = fields["path"].(string)
		options, _ := fields["options"].(map[string]any)
		for name, value := range options {
			d.Options[name] = fmt.Sprint(value)
		}
		devices[path] = d
	}
	return devices, nil
}

// deviceTable shows devices as stock clients do.
func deviceTable(devices map[string]*api.Audit, detailed bool) string {
	header := []string{"Path", "Type", "Description"}
	if detailed {
		header = append(header, "Replication", "Options")
	}
	var rows [][]string
	for _, path := range slices.Sorted(maps.Keys(devices)) {
		d := devices[path]
		row := []string{path, d.Type, d.Description}
		if detailed {
			replication := "replicated"
			if d.Local {
				replication = "local"
			}
			var options []string
			for _, name := range slices.Sorted(maps.Keys(d.Options)) {
				options = append(options, name+"="+d.Options[name])
			}
			row = append(row, replication, strings.Join(options, " "))
		}
		rows = append(rows, row)
	}
	return format.Table(header, rows)
}
