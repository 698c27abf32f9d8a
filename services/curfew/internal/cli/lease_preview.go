package cli

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/spf13/cobra"

	"github.com/curfew-project/curfew/services/curfew/internal/cli/internal/format"
)

// previewView is what the table shows of sys/leases/preview/<prefix>.
type previewView struct {
	Prefix   string `json:"prefix"`
	Total    int64  `json:"total"`
	Revoking int64  `json:"revoking"`
	Forever  int64  `json:"never_expire"`

	Roles       []previewRole  `json:"roles"`
	OtherRoles  previewOthers  `json:"other_roles"`
	Owners      []previewOwner `json:"owners"`
	OtherOwners previewOthers  `json:"other_owners"`

	Oldest   time.Time `json:"oldest_issue_time"`
	Newest   time.Time `json:"newest_issue_time"`
	Earliest time.Time `json:"earliest_expire_time"`
	Latest   time.Time `json:"latest_expire_time"`
}

type previewRole struct {
	Path  string `json:"path"`
	Count int64  `json:"count"`
}

type previewOwner struct {
	Accessor    string `json:"accessor"`
	DisplayName string `json:"display_name"`
	Count       int64  `json:"count"`
}

// previewOthers are those that are not listed.
type previewOthers struct {
	Count   int64 `json:"count"`
	AtLeast bool  `json:"at_least"`
	Leases  int64 `json:"leases"`
}

// leasePreview shows what a revocation would take; it only reads.
func (s *session) leasePreview(cmd *cobra.Command, options api.RevokeOptions) error {
	switch {
	case !options.Prefix:
		return usage(cmd, "Specifying -dry-run requires also specifying -prefix")
	case options.Force || options.Sync:
		return usage(cmd, "-dry-run revokes nothing: leave -force and -sync away")
	}
	client, err := s.client()
	if err != nil {
		return err
	}
	neverWrap(client) // it is read here
	var answer struct {
		Data     json.RawMessage `json:"data"`
		Warnings []string        `json:"warnings"`
	}
	if err := getJSON(cmd.Context(), client, "sys/leases/preview/"+options.LeaseID, &answer); err != nil {
		return refused(err, "Error previewing the revocation of prefix %s", options.LeaseID)
	}
	if s.structured() {
		return s.printStructured(answer.Data)
	}
	var view previewView
	if err := json.Unmarshal(answer.Data, &view); err != nil {
		return local(err, "Error decoding the preview")
	}
	s.printWarnings(answer.Warnings)
	s.printPreview(&view)
	return nil
}

func (s *session) printPreview(v *previewView) {
	fmt.Fprint(s.out, format.Table([]string{"Key", "Value"}, [][]string{
		{"prefix", v.Prefix},
		{"leases", strconv.FormatInt(v.Total, 10)},
		{"already_revoking", strconv.FormatInt(v.Revoking, 10)},
		{"oldest_issue_time", instant(v.Oldest)},
		{"newest_issue_time", instant(v.Newest)},
		{"earliest_expire_time", instant(v.Earliest)},
		{"latest_expire_time", instant(v.Latest)},
		{"never_expire", strconv.FormatInt(v.Forever, 10)},
	}))
	if len(v.Roles) > 0 {
		var rows [][]string
		for _, r := range v.Roles {
			rows = append(rows, []string{r.Path, strconv.FormatInt(r.Count, 10)})
		}
		if o := v.OtherRoles; o.Count > 0 {
			rows = append(rows, []string{o.String(), strconv.FormatInt(o.Leases, 10)})
		}
		fmt.Fprint(s.out, "\n"+format.Table([]string{"Role", "Leases"}, rows))
	}
	if len(v.Owners) > 0 {
		var rows [][]string
		for _, o := range v.Owners {
			rows = append(rows, []string{o.DisplayName, o.Accessor, strconv.FormatInt(o.Count, 10)})
		}
		if o := v.OtherOwners; o.Count > 0 {
			rows = append(rows, []string{o.String(), "", strconv.FormatInt(o.Leases, 10)})
		}
		fmt.Fprint(s.out, "\n"+format.Table([]string{"Created by", "Accessor", "Leases"}, rows))
	}
	fmt.Fprintln(s.out, "\nNothing was revoked.")
}

// String says how many there are.
func (o previewOthers) String() string {
	if o.AtLeast {
		return fmt.Sprintf("(at least %d others)", o.Count)
	}
	return fmt.Sprintf("(%d others)", o.Count)
}

// instant reads a time to the second.
func instant(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}
