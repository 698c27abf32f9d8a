package engine

// GroupKeeper is the optional ability to keep roles in targets that hold what
// accounts share (shared_grants).
type GroupKeeper interface {
	// GroupRoles is their upkeep by the contract of a [Rotator]: what falls due is
	// a group role that has to be made, granted everything again, or dropped
	// because no lease needs it.
	GroupRoles() Rotator
}
