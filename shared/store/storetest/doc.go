// Package storetest is the conformance suite of the durable store, and the
// doubles that go with it.
//
//	Run       states the laws of package store, each as a subtest named by its
//	          rule; every implementation passes all of them
//	RunModel  plays random calls against an implementation and [Fake] side by
//	          side; they must answer alike
//	Fake      the whole contract in memory, for tests of other packages and for
//	          simulation
//	Faulty    a wrapper that makes chosen calls fail in each of the two ways:
//	          not done; done but reported as failed
//	Clock     a clock that stands still until it is moved
//
// The suite is itself tested: it catches each of a list of broken stores
// (TestSuiteCatches).
package storetest
