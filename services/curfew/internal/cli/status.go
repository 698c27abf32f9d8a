package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/hashicorp/vault/api"
	"github.com/spf13/cobra"

	"github.com/curfew-project/curfew/services/curfew/internal/cli/internal/format"
)

// sealStatus is the answer of sys/seal-status and the first part of the
// command's JSON, in that order of members.
type sealStatus struct {
	Type         string `json:"type"`
	Initialized  bool   `json:"initialized"`
	Sealed       bool   `json:"sealed"`
	T            int    `json:"t"`
	N            int    `json:"n"`
	Progress     int    `json:"progress"`
	Nonce        string `json:"nonce"`
	Version      string `json:"version"`
	CommitDate   string `json:"commit_date"`
	Migration    bool   `json:"migration"`
	ClusterName  string `json:"cluster_name,omitempty"`
	ClusterID    string `json:"cluster_id,omitempty"`
	RecoverySeal bool   `json:"recovery_seal"`
	StorageType  string `json:"storage_type,omitempty"`
	BuildDate    string `json:"build_date"`
}

// leaderStatus is the answer of sys/leader and the second part.
type leaderStatus struct {
	HAEnabled            bool   `json:"ha_enabled"`
	IsSelf               bool   `json:"is_self,omitempty"`
	ActiveTime           string `json:"active_time,omitempty"`
	LeaderAddress        string `json:"leader_address,omitempty"`
	LeaderClusterAddress string `json:"leader_cluster_address,omitempty"`
	RaftCommittedIndex   uint64 `json:"raft_committed_index,omitempty"`
	RaftAppliedIndex     uint64 `json:"raft_applied_index,omitempty"`
}

// serverStatus is the whole JSON.
type serverStatus struct {
	sealStatus
	leaderStatus
}

func (s *session) statusCommand() *cobra.Command {
	return s.clientFlags(&cobra.Command{
		Use:   "status",
		Short: "Show whether the server is sealed (exit 0 unsealed, 2 sealed, 1 error)",
		Args:  arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := s.client()
			if err != nil {
				return err
			}
			var status serverStatus
			if err := getJSON(cmd.Context(), client, "sys/seal-status", &status.sealStatus); err != nil {
				return local(err, "Error checking seal status")
			}
			if err := leader(cmd.Context(), client, &status.leaderStatus); err != nil {
				return local(err, "Error checking leader status")
			}
			if s.structured() {
				if err := s.printStructured(status); err != nil {
					return err
				}
			} else {
				fmt.Fprint(s.out, format.Table([]string{"Key", "Value"}, status.rows()))
			}
			if status.Sealed {
				return &ExitError{Code: codeSealed}
			}
			return nil
		},
	})
}

// leader asks who leads. A sealed server does not say, and takes part in high
// availability for all that is known; a server without the path has none.
func leader(ctx context.Context, client *api.Client, status *leaderStatus) error {
	err := getJSON(ctx, client, "sys/leader", status)
	var answer *api.ResponseError
	if !errors.As(err, &answer) {
		return err
	}
	switch answer.StatusCode {
	case http.StatusServiceUnavailable:
		status.HAEnabled = true
		return nil
	case http.StatusNotFound:
		return nil
	}
	return err
}

func getJSON(ctx context.Context, client *api.Client, path string, into any) error {
	return getJSONWith(ctx, client, path, nil, into)
}

// getJSONWith is getJSON of a path with a query.
func getJSONWith(ctx context.Context, client *api.Client, path string, query url.Values, into any) error {
	response, err := client.Logical().ReadRawWithDataWithContext(ctx, path, query)
	if response != nil {
		defer response.Body.Close()
	}
	if err != nil {
		return err
	}
	return json.NewDecoder(response.Body).Decode(into)
}

func (status *serverStatus) rows() [][]string {
	kind := ""
	if status.RecoverySeal {
		kind = "Recovery "
	}
	rows := [][]string{
		{"Seal Type", status.Type},
		{"Initialized", strconv.FormatBool(status.Initialized)},
		{"Sealed", strconv.FormatBool(status.Sealed)},
		{"Total " + kind + "Shares", strconv.Itoa(status.N)},
		{"Threshold", strconv.Itoa(status.T)},
	}
	if status.Sealed {
		rows = append(rows,
			[]string{"Unseal Progress", fmt.Sprintf("%d/%d", status.Progress, status.T)},
			[]string{"Unseal Nonce", status.Nonce})
	}
	if status.Migration {
		rows = append(rows, []string{"Seal Migration in Progress", "true"})
	}
	rows = append(rows, []string{"Version", status.Version})
	if status.BuildDate != "" {
		rows = append(rows, []string{"Build Date", status.BuildDate})
	}
	rows = append(rows, []string{"Storage Type", status.StorageType})
	if status.ClusterName != "" && status.ClusterID != "" {
		rows = append(rows, []string{"Cluster Name", status.ClusterName}, []string{"Cluster ID", status.ClusterID})
	}
	return append(rows, status.leaderRows()...)
}

func (status *serverStatus) leaderRows() [][]string {
	rows := [][]string{{"HA Enabled", strconv.FormatBool(status.HAEnabled)}}
	if status.HAEnabled && !status.Sealed {
		mode := "standby"
		if status.IsSelf {
			mode = "active"
		}
		rows = append(rows, []string{"HA Cluster", status.LeaderClusterAddress}, []string{"HA Mode", mode})
		if status.IsSelf && status.ActiveTime != "" {
			rows = append(rows, []string{"Active Since", status.ActiveTime})
		}
		if !status.IsSelf && status.LeaderAddress != "" {
			rows = append(rows, []string{"Active Node Address", status.LeaderAddress})
		}
	}
	if status.RaftCommittedIndex > 0 {
		rows = append(rows, []string{"Raft Committed Index", strconv.FormatUint(status.RaftCommittedIndex, 10)})
	}
	if status.RaftAppliedIndex > 0 {
		rows = append(rows, []string{"Raft Applied Index", strconv.FormatUint(status.RaftAppliedIndex, 10)})
	}
	return rows
}
