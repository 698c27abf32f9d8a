package auditor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/curfew-project/curfew/auditor/internal/examine"
	"github.com/curfew-project/curfew/auditor/internal/ledger"
	"github.com/curfew-project/curfew/shared/fsck"
)

// ErrDamaged says that the ledger is not what was signed. What and where was
// printed.
var ErrDamaged = errors.New("the ledger is damaged")

// Verify recomputes the ledger in dir (an auditor's Config.Dir or LedgerDir) from
// the bytes of its entries and prints what it found to w. key is the public key in text
// form, kept outside; empty: the one in the directory, which shows accidents
// but not a forger. Each earlier checkpoint must be a prefix of today's ledger.
// It needs no lock and may run beside a running auditor.
func Verify(ctx context.Context, dir, key string, earlier [][]byte, w io.Writer) error {
	if below := filepath.Join(dir, ledgerDir); isDir(below) {
		dir = below
	}
	pub, err := publicKey(dir, key)
	if err != nil {
		return err
	}
	report, err := ledger.Verify(ctx, dir, pub, earlier...)
	if err != nil {
		return fmt.Errorf("verify the ledger: %w", err)
	}
	for _, s := range report.Segments {
		fmt.Fprintf(w, "epoch %d: %d entries signed, %d not yet signed, root %x, fence %d\n", s.Epoch, s.Size, s.Unsigned, s.Root, s.Fence)
	}
	for _, d := range report.Damages {
		fmt.Fprintf(w, "damaged: %s\n", d)
	}
	if report.Omitted > 0 {
		fmt.Fprintf(w, "damaged: %d more places\n", report.Omitted)
	}
	if len(report.Damages) > 0 {
		return fmt.Errorf("%w: %d places", ErrDamaged, len(report.Damages)+report.Omitted)
	}
	fmt.Fprintln(w, "the ledger is what was signed")
	return nil
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

func publicKey(dir, text string) (ledger.PublicKey, error) {
	if text != "" {
		k, err := ledger.ParsePublicKey(text)
		if err != nil {
			return k, fmt.Errorf("read the public key: %w", err)
		}
		return k, nil
	}
	k, err := ledger.NewReader(dir).PublicKey()
	if err != nil {
		return k, fmt.Errorf("read the ledger's public key: %w", err)
	}
	return k, nil
}

// Examine goes through the ledger in dir, as [Verify] finds it, and tells what
// fsck asks for: what the running auditor serves at /v1/audit/fsck.
func Examine(ctx context.Context, dir string, share fsck.Share, each func(fsck.Line) error) error {
	if below := filepath.Join(dir, ledgerDir); isDir(below) {
		dir = below
	}
	if err := examine.Record(ctx, ledger.NewReader(dir), share, each); err != nil {
		return fmt.Errorf("examine the ledger: %w", err)
	}
	return nil
}
