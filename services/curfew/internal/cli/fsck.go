package cli

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/curfew-project/curfew/services/curfew/internal/cli/internal/format"
	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/fsck"
)

// fsckFlags are those of `curfew fsck`.
type fsckFlags struct {
	dataDir, config string
	wait, interval  time.Duration
}

// fsckCommand compares what all parts of an installation hold.
func (s *session) fsckCommand() *cobra.Command {
	var f fsckFlags
	cmd := s.clientFlags(&cobra.Command{
		Use:   "fsck",
		Short: "Compare accounts, leases, index, events and ledger; nothing is changed",
		Long: `Compare the accounts in all targets, the leases in the store, the expiry index,
the events, the stream and the ledger. Nothing is changed.

What does not agree is looked at twice before it is reported, each with what
will put it right and when. The exit code is 0 where everything was looked at
and all agree, 1 where something does not, and 2 where nothing is known to
disagree but something could not be looked at.

Without -data-dir and -config it asks the running server; the token needs read
and sudo on sys/fsck and below, and read on audit/fsck. -data-dir reads the
directory of a server that is stopped; -config reads what a configuration names:
the data directory, or the store, the index, the stream and the ledger of the
distributed form.`,
		Example: `  curfew fsck
  curfew fsck -wait=30s -format=json
  curfew fsck -data-dir=/var/lib/curfew`,
		Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error { return s.fsck(cmd, &f) },
	})
	flags := cmd.Flags()
	flags.StringVar(&f.dataDir, "data-dir", "", "data_dir of a server that is stopped")
	flags.StringVar(&f.config, "config", "", "configuration file (HCL) of a server or program")
	flags.DurationVar(&f.wait, "wait", 0, "look again until all agree, this long at most")
	flags.DurationVar(&f.interval, "interval", 0, "between the two looks (default 3s)")
	return cmd
}

func (s *session) fsck(cmd *cobra.Command, f *fsckFlags) error {
	ctx := cmd.Context()
	src, closing, err := s.fsckSources(ctx, cmd, f)
	if err != nil {
		return err
	}
	report, err := fsck.New(src, clock.System{}, fsck.Config{Wait: f.wait, Interval: f.interval}).Run(ctx)
	if err := errors.Join(err, closing()); err != nil {
		return local(err, "Error comparing")
	}
	if s.structured() {
		if err := s.printStructured(report); err != nil {
			return err
		}
	} else {
		s.printReport(&report)
	}
	if code := report.Code(); code != codeDone {
		return &ExitError{Code: code}
	}
	return nil
}

func (s *session) fsckSources(ctx context.Context, cmd *cobra.Command, f *fsckFlags) (fsck.Sources, func() error, error) {
	nothing := func() error { return nil }
	if f.dataDir == "" && f.config == "" {
		client, err := s.client()
		if err != nil {
			return fsck.Sources{}, nothing, err
		}
		stream, err := s.client()
		if err != nil {
			return fsck.Sources{}, nothing, err
		}
		stream.SetClientTimeout(0) // see remote.Record
		neverWrap(client)          // it is read here
		r := &remote{client: client, stream: stream}
		return fsck.Sources{Store: r, Targets: r, Ledger: r}, nothing, nil
	}
	if f.dataDir != "" && f.config != "" {
		return fsck.Sources{}, nothing, usage(cmd, "-data-dir and -config name the same thing: give one")
	}
	if s.io.Files == nil {
		return fsck.Sources{}, nothing, usage(cmd, "This program reads no data directory")
	}
	src, closing, err := s.io.Files(ctx, f.dataDir, f.config)
	if err != nil {
		return src, nothing, refused(err, "Error opening what is to be compared") // nothing is known to disagree
	}
	return src, closing, nil
}

// printReport prints a report for a person.
func (s *session) printReport(r *fsck.Report) {
	s.printFindings("Does not agree", r.Disagreements)
	if r.Omitted > 0 {
		fmt.Fprintf(s.out, "and %d more\n\n", r.Omitted)
	}
	if len(r.Unseen) > 0 {
		fmt.Fprintf(s.out, "Could not be looked at:\n")
		for _, g := range r.Unseen {
			text := string(g.Part)
			if g.What != "" {
				text += " " + g.What
			}
			fmt.Fprintln(s.out, format.Wrap("* "+text+": "+strings.TrimSpace(g.Why), 2))
		}
		fmt.Fprintln(s.out)
	}
	s.printFindings("Not a disagreement", r.Notes)
	if len(r.Passed) > 0 {
		fmt.Fprintf(s.out, "%d things were under way at the first look and done at the second.\n\n", len(r.Passed))
	}
	c := r.Counts
	fmt.Fprint(s.out, format.Table([]string{"Compared", "Count"}, [][]string{
		{"leases", strconv.FormatInt(c.Leases, 10)},
		{"accounts", strconv.FormatInt(c.Accounts, 10)},
		{"targets", strconv.Itoa(c.Targets)},
		{"ledger entries", strconv.FormatInt(c.Entries, 10)},
		{"looks", strconv.Itoa(r.Looks)},
	}))
	switch r.Code() {
	case codeDone:
		fmt.Fprintln(s.out, "\nAll agree.")
	case codeServer:
		fmt.Fprintln(s.out, "\nWhat was looked at agrees.")
	default:
		fmt.Fprintf(s.out, "\nDisagreements: %d\n", len(r.Disagreements)+r.Omitted)
	}
}

func (s *session) printFindings(title string, all []fsck.Finding) {
	if len(all) == 0 {
		return
	}
	fmt.Fprintf(s.out, "%s:\n", title)
	for i := range all {
		f := &all[i]
		about := string(f.Kind)
		for _, part := range []string{f.Target, f.Account, string(f.Lease)} {
			if part != "" {
				about += " " + part
			}
		}
		fmt.Fprintln(s.out, format.Wrap("* "+about, 2))
		fmt.Fprintln(s.out, format.Wrap("  "+f.Seen, 4))
		heals := "heals: " + f.Heals
		if !f.By.IsZero() {
			heals += "; by " + moment(f.By)
		}
		fmt.Fprintln(s.out, format.Wrap("  "+heals, 4))
	}
	fmt.Fprintln(s.out)
}
