// Package version is the version of the programs, which are released together.
package version

// Version is a semantic version.
const Version = "0.1.0"
