package command

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/curfew-project/curfew/auditor"
	"github.com/curfew-project/curfew/services/curfew/internal/cli"
)

// codeDamaged is the exit code where the ledger is not what was signed.
const codeDamaged = 2

// Verify is `curfew audit verify`: it reads files, not the API, so that it
// needs to trust nobody.
func Verify() cli.Extension {
	return cli.Extension{Under: "audit", New: func(streams cli.IO) *cobra.Command {
		var dir, ledgerDir, keyFile string
		var earlier []string
		cmd := &cobra.Command{
			Use:   "verify",
			Short: "Recompute the ledger and compare it with what was signed",
			Long: `Recompute the ledger from the bytes of its entries and compare every tile,
every checkpoint and the manifest. It needs no running server, writes nothing,
and may run beside one.

Give -key (the text of GET /v1/audit/key) and -checkpoint (earlier answers of
GET /v1/audit/checkpoint) from a place of your own: with the key of the ledger's
own directory, accidents are found, but not a forger who holds that directory.`,
			Example: `  curfew audit verify -data-dir=/var/lib/curfew
  curfew audit verify -ledger-dir=/srv/ledger
  curfew audit verify -data-dir=/var/lib/curfew -key=curfew.pub -checkpoint=last-week.txt`,
			Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				if (dir == "") == (ledgerDir == "") {
					return errors.New("-data-dir, the data_dir of the server's configuration, or -ledger-dir, the auditors', is needed")
				}
				if ledgerDir == "" {
					ledgerDir = filepath.Join(dir, "audit")
				}
				key, notes, err := evidence(keyFile, earlier)
				if err != nil {
					return err
				}
				err = auditor.Verify(cmd.Context(), ledgerDir, key, notes, streams.Stdout)
				if errors.Is(err, auditor.ErrDamaged) {
					return &cli.ExitError{Code: codeDamaged, Act: "Error verifying the ledger", Err: err}
				}
				return err
			},
		}
		flags := cmd.Flags()
		flags.StringVar(&dir, "data-dir", "", "data_dir of the server")
		flags.StringVar(&ledgerDir, "ledger-dir", "", "ledger_dir of the auditors, in the distributed form")
		flags.StringVar(&keyFile, "key", "", "file with the ledger's public key, kept outside")
		flags.StringArrayVar(&earlier, "checkpoint", nil, "file with an earlier checkpoint, kept outside; may be repeated")
		return cmd
	}}
}

func evidence(keyFile string, earlier []string) (key string, notes [][]byte, err error) {
	if keyFile != "" {
		text, err := os.ReadFile(keyFile) //nolint:gosec // the operator names the file
		if err != nil {
			return "", nil, fmt.Errorf("read the public key: %w", err)
		}
		key = string(text)
	}
	for _, path := range earlier {
		note, err := os.ReadFile(path) //nolint:gosec // the operator names the file
		if err != nil {
			return "", nil, fmt.Errorf("read a checkpoint: %w", err)
		}
		notes = append(notes, note)
	}
	return key, notes, nil
}
