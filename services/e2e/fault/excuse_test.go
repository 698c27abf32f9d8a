//go:build e2e

package fault

import "maps"

// unreached are the points that no run of the harness comes by, with the reason.
// The recovery of a store is broken elsewhere, in process and in the fleet: what
// it may have to restore is in no chapter.
func unreached(distributed bool) map[string]string {
	excused := map[string]string{}
	for reason, points := range map[string][]string{
		"only a store that has lost commits: e2e.TestStoreRestored, fleet.TestFailover": {
			"auditor/internal/recovery.Recovery.anchor store.Confirmed",
			"auditor/internal/recovery.Recovery.events store.Events",
			"auditor/internal/recovery.Recovery.fold store.Head",
			"auditor/internal/recovery.Recovery.foldStream bus.Replay",
			"auditor/internal/recovery.Recovery.keep store.Due",
			"auditor/internal/recovery.Recovery.keepAll store.Apply",
			"auditor/internal/recovery.Recovery.recover store.Now",
			"auditor/internal/recovery.Recovery.resume store.Resume",
			"auditor/internal/recovery.Recovery.row store.Get",
			"auditor/internal/recovery.Recovery.suspend store.Suspend",
			"auditor/internal/recovery.Recovery.suspension store.Suspension",
			"auditor/internal/recovery.restoring.apply store.Apply",
			"auditor/internal/recovery.restoring.entry store.EntryByID",
			"revoker/internal/work.Worker.suspended store.Get",
			"shared/installation.Confirm store.Change",
			"shared/installation.Raise store.Change",
			"shared/publish.Publisher.rewound store.Suspend",
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
