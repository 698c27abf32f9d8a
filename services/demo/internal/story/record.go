package story

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/curfew-project/curfew/services/demo/internal/stage"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
)

// entry is an audit entry as far as the story looks at it.
type entry struct {
	Number  int64      `json:"number"`
	Type    event.Type `json:"type"`
	Version int64      `json:"version"`
	Actor   string     `json:"actor"`
}

func (s *story) record(ctx context.Context) error {
	s.say("Every transition of a lease is an entry, also those that nobody asked for. The",
		"versions of a lease have no gap, so none is missing. First the lease that was",
		"revoked, then the one that expired:")
	for _, c := range []struct {
		lease   string
		life    []event.Type
		revoker string // who began to take it away; "": a client
	}{
		{s.first.lease, []event.Type{event.LeaseIntent, event.LeaseCreated, event.LeaseRevoking, event.LeaseRevoked}, ""},
		{
			s.second.lease,
			[]event.Type{event.LeaseIntent, event.LeaseCreated, event.LeaseRenewed, event.LeaseRevoking, event.LeaseRevoked},
			lease.ActorExpiry,
		},
	} {
		if err := s.untilRecorded(ctx, c.lease); err != nil {
			return err
		}
		entries, err := s.entries(ctx, c.lease)
		if err != nil {
			return err
		}
		if err := checkLife(entries, c.life, c.revoker); err != nil {
			return fmt.Errorf("the record of %s: %w", c.lease, err)
		}
		s.line("")
		if err := s.run(ctx, "audit", "entries", "-lease="+c.lease); err != nil {
			return err
		}
		s.last = max(s.last, entries[len(entries)-1].Number)
	}
	return nil
}

// untilRecorded waits for the last entry of a lease: the record follows the
// store and nothing waits for it.
func (s *story) untilRecorded(ctx context.Context, id string) error {
	return s.until(ctx, func() error {
		_, err := s.stage.Client(ctx, "audit", "entries", "-lease="+id, "-type="+string(event.LeaseRevoked))
		if err != nil {
			return fmt.Errorf("%w: %w", errNotYet, err)
		}
		return nil
	})
}

func (s *story) entries(ctx context.Context, id string) ([]entry, error) {
	out, err := s.stage.Client(ctx, "audit", "entries", "-format=json", "-lease="+id)
	if err != nil {
		return nil, err
	}
	var entries []entry
	if err := json.Unmarshal([]byte(out.Stdout), &entries); err != nil {
		return nil, fmt.Errorf("read the entries: %w", err)
	}
	return entries, nil
}

// checkLife wants the versions of a lease without a gap, the transitions of
// life in order, and at the end its actor.
func checkLife(entries []entry, life []event.Type, revoker string) error {
	var seen []event.Type
	for i, e := range entries {
		if e.Version != int64(i+1) {
			return fmt.Errorf("entry %d has version %d", i+1, e.Version)
		}
		if e.Type == event.LeaseRevoking && revoker != "" && e.Actor != revoker {
			return fmt.Errorf("%s was by %s, not by %s", e.Type, e.Actor, revoker)
		}
		if slices.Contains(life, e.Type) {
			seen = append(seen, e.Type)
		}
	}
	if !slices.Equal(seen, life) {
		return fmt.Errorf("it is %v, not %v", seen, life)
	}
	return nil
}

func (s *story) verify(ctx context.Context) error {
	s.say("The entries are the leaves of a Merkle tree whose root Curfew signs, a moment",
		"after they were added. Verifying reads the files alone, with the public key that",
		"the API gave out at the start (GET /v1/audit/key), kept in "+stage.KeyFile+".", "")
	args := []string{"audit", "verify", "-data-dir=" + s.stage.Server.Data, "-key=" + stage.KeyFile}
	err := s.until(ctx, func() error {
		out, err := s.stage.Client(ctx, args...)
		if err != nil {
			return err
		}
		return signed(out.Stdout, s.last)
	})
	if err != nil {
		return err
	}
	return s.run(ctx, args...)
}

// signed wants the ledger to be signed up to entry n.
func signed(report string, n int64) error {
	var epoch, size int64
	if _, err := fmt.Sscanf(report, "epoch %d: %d entries signed", &epoch, &size); err != nil {
		return fmt.Errorf("read what audit verify says: %w", err)
	}
	if size < n {
		return fmt.Errorf("%w: the ledger is signed up to entry %d, not %d", errNotYet, size, n)
	}
	return nil
}
