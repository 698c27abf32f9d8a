// Package examine goes through the whole record for fsck: its files are what
// was signed, its numbers are dense, and each lease's versions and moves are
// complete and legal.
//
// What holds:
//   - nothing is written, no lock is taken: it runs beside the appender, and
//     tells of the entries that were durable when it began;
//   - it holds what has not ended by the record, or a share of that, never all
//     that ever was;
//   - what it suspects it reads once more, entry by entry, before it says so.
//
// What can fail: files that cannot be read are an error; entries that are no
// events are findings.
package examine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"github.com/curfew-project/curfew/auditor/internal/ledger"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/fsck"
)

// every is how many entries are read between two signs of life.
const every = 10_000

// Record goes through the ledger and tells what package fsck asks for.
func Record(ctx context.Context, r *ledger.Reader, share fsck.Share, each func(fsck.Line) error) error {
	if err := each(fsck.Line{Read: 1}); err != nil { // it has begun
		return err
	}
	signed := int64(0)
	if share.Part == 0 {
		var err error
		if signed, err = verify(ctx, r, each); err != nil {
			return err
		}
	}
	fold := fsck.NewFold(share)
	ends, err := sizes(r)
	if err != nil {
		return err
	}
	if err := read(ctx, r, ends, fold, each); err != nil {
		return err
	}
	again := fold.Again()
	if again != nil {
		if err := read(ctx, r, ends, again, each); err != nil {
			return err
		}
	}
	return fold.Tell(again, signed, each)
}

// verify compares the files with what was signed.
func verify(ctx context.Context, r *ledger.Reader, each func(fsck.Line) error) (signed int64, err error) {
	report, err := r.Verify(ctx)
	if errors.Is(err, fs.ErrNotExist) { // there is no ledger yet
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	for _, s := range report.Segments {
		signed += s.Size
	}
	for _, d := range report.Damages {
		text := fmt.Sprint(d)
		err := each(fsck.Line{Wrong: &fsck.Finding{
			Kind: fsck.LedgerDamaged, Part: fsck.PartLedger, Evidence: text, Seen: text,
			Heals: "a person puts the files right from a copy (curfew audit verify); no restart is needed",
		}})
		if err != nil {
			return 0, err
		}
	}
	return signed, nil
}

// sizes are the ends of all segments when reading begins.
func sizes(r *ledger.Reader) (ends []event.Position, err error) {
	epochs, err := r.Epochs()
	if err != nil {
		return nil, err
	}
	for _, epoch := range epochs {
		size, err := r.Size(epoch)
		if err != nil {
			return nil, err
		}
		ends = append(ends, event.Position{Epoch: epoch, Number: size})
	}
	return ends, nil
}

func read(ctx context.Context, r *ledger.Reader, ends []event.Position, fold *fsck.Fold, each func(fsck.Line) error) error {
	n := int64(0)
	for _, end := range ends {
		for entry, err := range r.Entries(ctx, end.Epoch, 1, end.Number) {
			if err != nil {
				return err
			}
			var e event.Event
			if json.Unmarshal(entry.Data, &e) != nil {
				e = event.Event{} // it bears no number, which is what is told
			}
			fold.Add(event.Position{Epoch: end.Epoch, Number: entry.Number}, &e)
			if n++; n%every == 0 {
				if err := each(fsck.Line{Read: n}); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
