package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
)

var errNoDecision = errors.New("the answer does not say whether it is allowed")

// explainCommand asks the server whether the token may do something, and what
// it lacks; nothing is done. The refusal of the request itself says no more
// than "permission denied".
func (s *session) explainCommand() *cobra.Command {
	return s.clientFlags(&cobra.Command{
		Use:   "explain METHOD PATH [K=V...]",
		Short: "Tell whether one's token may do something, and what it lacks",
		Long: `Tell whether one's token may do something, and what it lacks. METHOD is GET, LIST,
PUT, POST or DELETE, or read, list, write, delete. K=V is data of the request as
for "curfew write": policies may ask for parameters.

Nothing is done. The exit code is 0 where it is allowed and 2 where it is not.`,
		Example: `  curfew explain GET database/creds/app-readonly
  curfew explain PUT database/roles/reports db_name=app default_ttl=1h`,
		Args: arguments(2, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path := cleanPath(args[1])
			question := map[string]any{"operation": args[0], "path": path}
			data, err := keyValues(args[2:], s.io.Stdin)
			if err != nil {
				return usage(cmd, "Invalid K=V data: %s", err)
			}
			if data != nil {
				question["data"] = data
			}
			return s.explain(cmd, path, question)
		},
	})
}

func (s *session) explain(cmd *cobra.Command, path string, question map[string]any) error {
	client, err := s.client()
	if err != nil {
		return err
	}
	neverWrap(client) // the decision has to reach us: it is the exit code
	secret, err := client.Logical().WriteWithContext(cmd.Context(), "sys/explain-self", question)
	if err != nil {
		return refused(err, "Error explaining %s", path)
	}
	if secret == nil {
		return refused(errNoDecision, "Error explaining %s", path)
	}
	allowed, ok := secret.Data["allowed"].(bool)
	if !ok {
		return refused(errNoDecision, "Error explaining %s", path)
	}
	if s.structured() {
		err = s.printStructured(secret.Data)
	} else {
		lines, _ := secret.Data["explanation"].([]any)
		for _, line := range lines {
			fmt.Fprintln(s.out, line)
		}
	}
	if err == nil && !allowed {
		return &ExitError{Code: codeServer}
	}
	return err
}
