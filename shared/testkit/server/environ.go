package server

import (
	"slices"
	"strings"
)

// Environ returns base without what could lead a child to its user's servers
// or secrets (PG*, VAULT_*, BAO_*), and with HOME as its home folder.
func Environ(base []string, home string) []string {
	env := slices.DeleteFunc(withoutLeads(base), func(entry string) bool {
		return strings.HasPrefix(entry, "HOME=")
	})
	return append(env, "HOME="+home)
}

// withoutLeads is for the docker client, which finds its daemon through HOME.
func withoutLeads(base []string) []string {
	return slices.DeleteFunc(slices.Clone(base), func(entry string) bool {
		name, _, _ := strings.Cut(entry, "=")
		return Leads(name)
	})
}

// Leads reports whether a variable could lead a client to its user's servers
// or secrets.
func Leads(name string) bool {
	for _, prefix := range []string{"PG", "VAULT_", "BAO_"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}
