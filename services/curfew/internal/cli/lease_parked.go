package cli

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/curfew-project/curfew/services/curfew/internal/cli/internal/format"
)

// parkedView is what the table shows of sys/leases?type=irrevocable.
type parkedView struct {
	Count  int64         `json:"lease_count"`
	Leases []parkedLease `json:"leases"`
}

type parkedLease struct {
	ID         string    `json:"lease_id"`
	Mount      string    `json:"mount"`
	Connection string    `json:"connection"`
	Username   string    `json:"username"`
	Error      string    `json:"error"`
	Attempts   int       `json:"attempts"`
	First      time.Time `json:"first_failure"`
	Last       time.Time `json:"last_failure"`
	Next       time.Time `json:"next_attempt"`
}

// leaseParkedCommand shows the revocations that need a person.
func (s *session) leaseParkedCommand() *cobra.Command {
	var prefix, target, limit string
	cmd := s.clientFlags(&cobra.Command{
		Use:   "parked",
		Short: "Show the revocations that need a person, with their reasons",
		Example: `  curfew lease parked
  curfew lease parked -target=database/my-postgres
  curfew lease parked -format=json -limit=none`,
		Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := s.client()
			if err != nil {
				return err
			}
			neverWrap(client) // it is read here
			query := url.Values{"type": {"irrevocable"}}
			for name, value := range map[string]string{"prefix": cleanPath(prefix), "connection": cleanPath(target), "limit": limit} {
				if value != "" {
					query.Set(name, value)
				}
			}
			var answer struct {
				Data     json.RawMessage `json:"data"`
				Warnings []string        `json:"warnings"`
			}
			if err := getJSONWith(cmd.Context(), client, "sys/leases", query, &answer); err != nil {
				return refused(err, "Error listing parked revocations")
			}
			if s.structured() {
				return s.printStructured(answer.Data)
			}
			var view parkedView
			if err := json.Unmarshal(answer.Data, &view); err != nil {
				return local(err, "Error decoding the list")
			}
			s.printWarnings(answer.Warnings)
			s.printParked(&view)
			return nil
		},
	})
	flags := cmd.Flags()
	flags.StringVar(&prefix, "prefix", "", "only leases below this path")
	flags.StringVar(&target, "target", "", "only leases of this connection: its name, with or without the path of its mount")
	flags.StringVar(&limit, "limit", "", "how many at most, or none for all (default 10000)")
	return cmd
}

func (s *session) printParked(v *parkedView) {
	if len(v.Leases) == 0 {
		s.success("No revocation needs a person")
		return
	}
	rows := make([][]string, len(v.Leases))
	for i, l := range v.Leases {
		rows[i] = []string{
			l.ID, l.Mount + l.Connection, l.Username, strconv.Itoa(l.Attempts), instant(l.First), instant(l.Last), instant(l.Next), l.Error,
		}
	}
	fmt.Fprint(s.out, format.Table(
		[]string{"Lease", "Target", "Username", "Attempts", "First failure", "Last failure", "Next try", "Error"}, rows))
}

// leaseRetryCommand makes the next try of revocations due now.
func (s *session) leaseRetryCommand() *cobra.Command {
	var prefix, target bool
	var reason string
	cmd := s.clientFlags(&cobra.Command{
		Use:   "retry LEASE_ID",
		Short: "Try a revocation again now, or with -prefix or -target many",
		Example: `  curfew lease retry database/creds/readonly/abc
  curfew lease retry -prefix database/creds
  curfew lease retry -target -reason="granted pg_signal_backend" database/my-postgres`,
		Args: arguments(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if prefix && target {
				return usage(cmd, "Specify one of -prefix and -target")
			}
			return s.retry(cmd, retryPath(prefix, target)+cleanPath(args[0]), reason)
		},
	})
	flags := cmd.Flags()
	flags.BoolVar(&prefix, "prefix", false, "try all below this path that have failed")
	flags.BoolVar(&target, "target", false, "try all of this connection (path of the mount and name) that have failed")
	flags.StringVar(&reason, "reason", "", "why, for the record")
	return cmd
}

func retryPath(prefix, target bool) string {
	switch {
	case prefix:
		return "sys/leases/retry-prefix/"
	case target:
		return "sys/leases/retry-connection/"
	}
	return "sys/leases/retry/"
}

// retry asks until the server has come to the end.
func (s *session) retry(cmd *cobra.Command, path, reason string) error {
	client, err := s.client()
	if err != nil {
		return err
	}
	neverWrap(client)
	total, after := int64(0), ""
	for {
		sent := map[string]any{}
		if reason != "" {
			sent["reason"] = reason
		}
		if after != "" {
			sent["after"] = after
		}
		secret, err := client.Logical().WriteWithContext(cmd.Context(), path, sent)
		if err != nil {
			return refused(err, "Error retrying revocations")
		}
		if secret != nil {
			n, _ := secret.Data["retried"].(json.Number)
			some, _ := n.Int64()
			total += some
			after, _ = secret.Data["next"].(string)
		}
		if secret == nil || after == "" {
			break
		}
	}
	if s.structured() {
		return s.printStructured(map[string]any{"retried": total})
	}
	s.success("Success! Revocations that are tried again now: %d", total)
	return nil
}
