package operator

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/curfew-project/curfew/issuer/internal/wire"
	"github.com/curfew-project/curfew/shared/installation"
)

// What the sweeps do about accounts that no lease stands for.
const (
	acting    = "acting"    // take them away
	reporting = "reporting" // leave them, and say so
)

// view is the data of sys/installation.
func (d *Desk) view(ctx context.Context) (map[string]any, error) {
	seal, err := d.seal.Status(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the installation: %w", err)
	}
	suspension, suspended, err := d.store.Suspension(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the suspension: %w", err)
	}
	doubts, err := installation.Current(ctx, d.store)
	if err != nil {
		return nil, err
	}
	data := map[string]any{
		"id":        seal.ClusterID,
		"suspended": suspended, "suspended_reason": "", "suspended_since": nil,
		"sweeping": acting, "doubts": listed(doubts),
	}
	if suspended {
		data["suspended_reason"], data["suspended_since"] = suspension.Reason, wire.Stamp(suspension.Since)
	}
	if suspended || len(doubts) > 0 {
		data["sweeping"] = reporting
	}
	connections, err := d.connections(ctx)
	if err != nil {
		return nil, err
	}
	if data["contested"], err = d.contested(ctx, connections); err != nil {
		return nil, err
	}
	if data["strays"], err = d.strays(ctx, connections); err != nil {
		return nil, err
	}
	if data["processes"], err = d.processes(ctx); err != nil {
		return nil, err
	}
	recoveries, err := installation.Recoveries(ctx, d.store)
	if err != nil {
		return nil, err
	}
	for i := range recoveries {
		recoveries[i].Lost = listed(recoveries[i].Lost)
	}
	data["recoveries"] = listed(recoveries)
	return data, nil
}

// listed is a list that is never null on the wire.
func listed[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// contested are the targets that bear another's mark.
func (d *Desk) contested(ctx context.Context, connections map[string]connection) ([]map[string]any, error) {
	found, err := installation.Contested(ctx, d.store)
	if err != nil {
		return nil, err
	}
	out := []map[string]any{}
	for _, target := range slices.Sorted(maps.Keys(found)) {
		out = append(out, about(target, connections, "found", found[target]))
	}
	return out, nil
}

// strays are the accounts without a lease that were left alone.
func (d *Desk) strays(ctx context.Context, connections map[string]connection) ([]map[string]any, error) {
	found, err := installation.ReportedStrays(ctx, d.store)
	if err != nil {
		return nil, err
	}
	out := []map[string]any{}
	for _, target := range slices.Sorted(maps.Keys(found)) {
		one := about(target, connections, "count", found[target].Count)
		one["accounts"] = listed(found[target].Accounts)
		out = append(out, one)
	}
	return out, nil
}

// processes are the programs that have said lately that they run.
func (d *Desk) processes(ctx context.Context) ([]map[string]any, error) {
	known, err := installation.Processes(ctx, d.store)
	if err != nil {
		return nil, err
	}
	out := make([]map[string]any, len(known))
	for i, p := range known {
		out[i] = map[string]any{
			"name": p.Name, "program": p.Program, "version": p.Version,
			"started": wire.Stamp(p.Started), "seen": wire.Stamp(p.Seen), "clock_skew_ms": p.Skew.Milliseconds(),
		}
	}
	return out, nil
}

// about is one thing about a target.
func about(target string, connections map[string]connection, key string, value any) map[string]any {
	c := connections[target]
	return map[string]any{"target": target, "mount": c.mount, "connection": c.name, key: value}
}
