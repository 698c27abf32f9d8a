//go:build e2e

package fault

import (
	"maps"
	"testing"
)

// inRecovery are the points that only the recovery of a store comes by that has
// lost commits, and what follows from it: they are not of TestCrashPoints but of
// TestRecoveryCrashPoints.
func inRecovery() map[string]bool {
	points := map[string]bool{}
	for _, name := range []string{
		"auditor/internal/recovery.Recovery.anchor store.Confirmed",
		"auditor/internal/recovery.Recovery.events store.Events",
		"auditor/internal/recovery.Recovery.fold store.Confirmed",
		"auditor/internal/recovery.Recovery.fold store.Head",
		"auditor/internal/recovery.Recovery.foldStream bus.Replay",
		"auditor/internal/recovery.Recovery.keep store.Due",
		"auditor/internal/recovery.Recovery.recover store.Now",
		"auditor/internal/recovery.Recovery.resume store.Resume",
		"auditor/internal/recovery.Recovery.row store.Get",
		"auditor/internal/recovery.Recovery.suspend store.Suspend",
		"auditor/internal/recovery.Recovery.suspension store.Suspension",
		"auditor/internal/recovery.restoring.apply store.Apply",
		"auditor/internal/recovery.restoring.entry store.EntryByID",
		"shared/installation.Confirm store.Change",
	} {
		points[name] = true
	}
	return points
}

// unreached are the points that no run of the harness comes by, with the reason.
func unreached(distributed bool) map[string]string {
	excused := map[string]string{}
	for reason, points := range map[string][]string{
		"only a stream and a ledger that part more than an hour before their end: recovery.TestStreamReadFromTheEnd": {
			"auditor/internal/recovery.Recovery.since bus.Replay",
		},
		"only a creation that was under way when the copy was made, and of which nothing is on record since: recovery's tests of intents": {
			"auditor/internal/recovery.Recovery.keepAll store.Apply",
		},
		"only a publisher that finds out before the auditor does: publish.TestRewoundStore": {
			"shared/publish.Publisher.rewound store.Suspend",
		},
		"only tests: a program raises doubt in a commit that has more in it (Raising)": {
			"shared/installation.Raise store.Change",
		},
		"only a lease that falls due while the store is suspended: work's own tests": {
			"revoker/internal/work.Worker.suspended store.Get",
		},
		"only a catalogue whose ledger was replaced, or that is a thousand entries behind: catalog's own tests": {
			"auditor/internal/catalog.Catalog.rebuild catalogue.anew",
			"auditor/internal/catalog.Follower.follow catalogue.add",
		},
		"only a catalogue whose file is damaged, or of another version: catalog.TestMadeAnew": {
			"auditor/internal/catalog.Open catalogue.anew",
		},
		"only a device whose disk refuses a line: sink's own tests": {
			"auditor/internal/sink.Table.report store.Now",
			"auditor/internal/sink.Table.see store.Write",
		},
		"only a revocation that takes longer than a third of its claim, 20 s: claim's own tests": {
			"revoker/internal/claim.Claimer.heartbeat expiry.Extend",
		},
		"only two installations on one target: e2e's tests of installations": {
			"revoker/internal/sweep.Strays.dispute engine.SetMark",
		},
		"only an account that the harness cannot make without naming keys: a lease of it without its plan (A7)": {
			"revoker/internal/work.plan engine.StrayPlan",
		},
		"only a target that keeps a deleted connection's mark: database's own tests": {
			"shared/engine/database.Engine.postpone store.Now",
		},
		"only a batch that takes longer than the margin of VALID UNTIL: postgres' own tests": {
			"shared/engine/database/internal/postgres.Target.mend target.transact",
		},
		"only a role whose revocation statements the admin may run as a member alone: postgres' own tests": {
			"shared/engine/database/internal/postgres.Target.own target.run",
		},
		"only a start of the store's server: appender.TestServerStarted and TestStreamHasMore, and the faults of the store here": {
			"auditor/internal/appender.Appender.agreed store.Compared",
			"auditor/internal/appender.Appender.streamed bus.Tail",
			"auditor/internal/appender.Appender.streamed store.Head",
		},
		"only a secret id whose answer could not be written: approle.TestUndelivered": {
			"issuer/internal/auth/approle.Method.takeBack store.Write",
		},
		"only a renewal that another one overtakes within milliseconds: issuer's tests, and the races here": {
			"issuer/internal/leases.Book.overtaken store.Get",
			"issuer/internal/leases.Book.overtaken store.Now",
		},
		"only an operation that has ended an hour ago: sweep.TestBarrierStaysWhileOpen, sweep.TestDisablingIsFollowed": {
			"revoker/internal/sweep.Barriers.one store.Write",
			"revoker/internal/sweep.Mounts.operations store.Write",
		},
		"only a mount whose disabling was killed half a minute ago: sweep.TestDisablingIsFollowed": {
			"revoker/internal/sweep.Mounts.listed store.Write",
		},
		"only a jump of the store's clock (A5): work's own tests, and the jumps here": {
			"revoker/internal/work.Worker.begun store.Get",
		},
		"only a target with replicas: postgres' own tests (C3)": {
			"shared/engine/database/internal/postgres.Target.disableOnce target.query",
			"shared/engine/database/internal/postgres.Target.replayed target.query",
		},
		"only sessions of which the admin may end some and not others: postgres' own tests (C4)": {
			"shared/engine/database/internal/postgres.Target.round target.queries #2",
		},
	} {
		for _, p := range points {
			excused[p] = reason
		}
	}
	for name := range inRecovery() {
		excused[name] = "only a store that has lost commits: TestRecoveryCrashPoints"
	}
	if distributed {
		excused["shared/engine/database.Engine.makeNaming store.Write"] = "only the first start of an installation: the run of one machine has it"
		return excused
	}
	maps.Copy(excused, map[string]string{
		"auditor.election.Do store.Acquire":                 "the auditor of one machine has the ledger for itself",
		"auditor.election.resign store.Release":             "the auditor of one machine has the ledger for itself",
		"issuer/internal/audit.Desk.refuse store.Write":     "the auditor of one machine runs where its issuer does",
		"revoker/internal/index.Sieve.share expiry.Missing": "the index of one machine is not shared",
	})
	return excused
}

// TestExcuses finds in the source every point that is excused.
func TestExcuses(t *testing.T) {
	p, err := build()
	must(t, err, "build")
	names := map[string]bool{}
	for _, one := range p.points {
		names[one.Name] = true
	}
	for name, reason := range unreached(distributed()) {
		if !names[name] {
			t.Errorf("there is no such point, and it needs no excuse (%s): %s", reason, name)
		}
	}
}
