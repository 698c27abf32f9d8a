package cli

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/curfew-project/curfew/services/curfew/internal/cli/internal/format"
)

// installationView is what the table shows of sys/installation.
type installationView struct {
	ID              string         `json:"id"`
	Suspended       bool           `json:"suspended"`
	SuspendedReason string         `json:"suspended_reason"`
	SuspendedSince  time.Time      `json:"suspended_since"`
	Sweeping        string         `json:"sweeping"`
	Doubts          []string       `json:"doubts"`
	Contested       []targetView   `json:"contested"`
	Strays          []targetView   `json:"strays"`
	Recoveries      []recoveryView `json:"recoveries"`
	Processes       []processView  `json:"processes"`
}

// processView is a program that has said lately that it runs.
type processView struct {
	Name    string    `json:"name"`
	Program string    `json:"program"`
	Version string    `json:"version"`
	Started time.Time `json:"started"`
	Seen    time.Time `json:"seen"`
	Skew    int64     `json:"clock_skew_ms"`
}

// targetView is one thing about a target.
type targetView struct {
	Target     string   `json:"target"`
	Mount      string   `json:"mount"`
	Connection string   `json:"connection"`
	Found      string   `json:"found"` // of a contested one
	Count      int      `json:"count"` // of strays
	Accounts   []string `json:"accounts"`
}

// name is the connection's path; the target's id where it is none any more.
func (t *targetView) name() string {
	if t.Connection == "" {
		return t.Target
	}
	return t.Mount + "config/" + t.Connection
}

// recoveryView is one recovery of the store.
type recoveryView struct {
	Epoch     int64      `json:"epoch"`
	Reason    string     `json:"reason"` // says what was brought back
	At        time.Time  `json:"at"`
	Lost      []lossView `json:"lost"`
	LostCount int        `json:"lost_count"`
}

// lossView is what a recovery could not bring back.
type lossView struct {
	What    string    `json:"what"`
	ID      string    `json:"id"`
	Detail  string    `json:"detail"`
	Account string    `json:"account"`
	Target  string    `json:"target"`
	At      time.Time `json:"at"`
}

// operatorInstallationCommand shows how things stand with the installation.
func (s *session) operatorInstallationCommand() *cobra.Command {
	return s.clientFlags(&cobra.Command{
		Use:   "installation",
		Short: "Show recoveries of the store, doubts, accounts without a lease, and processes",
		Args:  arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := s.client()
			if err != nil {
				return err
			}
			var answer struct {
				Data json.RawMessage `json:"data"`
			}
			if err := getJSON(cmd.Context(), client, "sys/installation", &answer); err != nil {
				return refused(err, "Error reading the installation")
			}
			if s.structured() {
				return s.printStructured(answer.Data)
			}
			var view installationView
			if err := json.Unmarshal(answer.Data, &view); err != nil {
				return local(err, "Error decoding the installation")
			}
			s.printInstallation(&view)
			return nil
		},
	})
}

// operatorConfirmCommand is a person's word that this is the one installation.
func (s *session) operatorConfirmCommand() *cobra.Command {
	return s.clientFlags(&cobra.Command{
		Use:   "confirm",
		Short: "Confirm that no other copy runs, so that accounts without a lease are taken away again",
		Args:  arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := s.client()
			if err != nil {
				return err
			}
			secret, err := client.Logical().WriteWithContext(cmd.Context(), "sys/installation/confirm", nil)
			if err != nil {
				return refused(err, "Error confirming the installation")
			}
			if secret != nil && len(secret.Warnings) > 0 {
				s.printWarnings(secret.Warnings)
				return nil
			}
			s.success("Success! The installation is confirmed: accounts without a lease are taken away again")
			return nil
		},
	})
}

func (s *session) printInstallation(v *installationView) {
	store, sweeps := "in order", "accounts without a lease are taken away"
	if v.Suspended {
		store = "suspended since " + moment(v.SuspendedSince) + ": " + v.SuspendedReason
	}
	if v.Sweeping != "acting" {
		sweeps = "accounts without a lease are only reported"
	}
	fmt.Fprint(s.out, format.Table([]string{"Key", "Value"}, [][]string{
		{"Installation", v.ID}, {"Store", store}, {"Stray sweeps", sweeps}, {"Recoveries", strconv.Itoa(len(v.Recoveries))},
	}))
	s.printProcesses(v.Processes)
	for i := range v.Recoveries {
		s.printRecovery(&v.Recoveries[i])
	}
	if len(v.Doubts) > 0 {
		fmt.Fprintf(s.out, "\nA person has to look, because:\n")
		for _, reason := range v.Doubts {
			fmt.Fprintln(s.out, format.Wrap("* "+reason, 2))
		}
	}
	s.printTargets("Targets whose mark this store did not write, as after a restore or where a copy sweeps", "Mark found", v.Contested,
		func(t *targetView) []string { return []string{t.Found} })
	s.printTargets("Accounts without a lease that were left alone", "Account", v.Strays, (*targetView).shown)
	s.printNextStep(v)
}

// shown are the accounts, and how many there are beyond those that are named.
func (t *targetView) shown() []string {
	if more := t.Count - len(t.Accounts); more > 0 {
		return append(t.Accounts, fmt.Sprintf("and %d more", more))
	}
	return t.Accounts
}

// printTargets prints a table with a line for each value of a target.
func (s *session) printTargets(title, heading string, targets []targetView, values func(*targetView) []string) {
	var rows [][]string
	for i := range targets {
		for _, value := range values(&targets[i]) {
			rows = append(rows, []string{targets[i].name(), value})
		}
	}
	if len(rows) > 0 {
		fmt.Fprintf(s.out, "\n%s:\n\n%s", title, format.Table([]string{"Connection", heading}, rows))
	}
}

func (s *session) printProcesses(processes []processView) {
	if len(processes) == 0 {
		return
	}
	rows := make([][]string, len(processes))
	for i, p := range processes {
		skew := (time.Duration(p.Skew) * time.Millisecond).String()
		rows[i] = []string{p.Name, p.Program, p.Version, moment(p.Started), moment(p.Seen), skew}
	}
	fmt.Fprintf(s.out, "\nProcesses:\n\n%s", format.Table([]string{"Name", "Program", "Version", "Started", "Seen", "Clock skew"}, rows))
}

func (s *session) printRecovery(r *recoveryView) {
	fmt.Fprintf(s.out, "\nRecovery of %s:\n", moment(r.At))
	text := r.Reason
	if r.Epoch > 0 {
		text += fmt.Sprintf(". Epoch %d began with it", r.Epoch)
	}
	fmt.Fprintln(s.out, format.Wrap(text, 2))
	if len(r.Lost) == 0 {
		return
	}
	rows := make([][]string, 0, len(r.Lost)+1)
	for _, l := range r.Lost {
		rows = append(rows, []string{l.What, l.ID, l.Detail, l.Account, l.Target, moment(l.At)})
	}
	if more := r.LostCount - len(r.Lost); more > 0 {
		rows = append(rows, []string{fmt.Sprintf("and %d more", more)})
	}
	fmt.Fprintf(s.out, "\n%s", format.Table([]string{"Lost", "ID", "Detail", "Account", "Target", "At"}, rows))
}

// printNextStep tells what a person does now.
func (s *session) printNextStep(v *installationView) {
	var next, command string
	switch {
	case v.Suspended:
		next = "The store recovers from the record by itself; until then nothing is issued or renewed. " +
			"If this lasts, the server's log says what it waits for."
	case len(v.Doubts) > 0 || len(v.Contested) > 0:
		next = "Next: make sure that no other copy of this installation runs, do again what was lost and is still needed, " +
			"and see to it that nobody needs the accounts above. Then:"
		command = "\n  curfew operator confirm\n"
	default:
		return
	}
	fmt.Fprintf(s.out, "\n%s\n%s", format.Wrap(next, 0), command)
}

// moment is a time as a person reads it.
func moment(t time.Time) string { return t.UTC().Format(time.RFC3339) }
