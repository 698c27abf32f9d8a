package store

import (
	"fmt"

	// Bodies are written with encoding/json and read several times each: decoding
	// took a quarter of a drain's processor time with that. Only for what a store
	// has written itself.
	"github.com/segmentio/encoding/json"

	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
)

// DecodeLease reads the body of a row of leases.
func DecodeLease(body string) (l lease.Lease, err error) {
	if err := json.Unmarshal([]byte(body), &l); err != nil {
		return l, fmt.Errorf("decode lease: %w", err)
	}
	return l, nil
}

// DecodeEvent reads the body of a row of events. Its number stands beside it.
func DecodeEvent(body string) (e event.Event, err error) {
	if err := json.Unmarshal([]byte(body), &e); err != nil {
		return e, fmt.Errorf("decode event: %w", err)
	}
	return e, nil
}
