package policy

// DefaultText is the policy `default` of a new installation: what a token may do
// about itself and what was wrapped for it. The leases that it created are its
// to look up, renew and revoke without a rule.
const DefaultText = `# What every token may do, unless it was made without this policy.

# Itself: look at it, prolong it, give it up, ask what it may do.
path "auth/token/lookup-self" {
  capabilities = ["read"]
}
path "auth/token/renew-self" {
  capabilities = ["update"]
}
path "auth/token/revoke-self" {
  capabilities = ["update"]
}
path "sys/capabilities-self" {
  capabilities = ["update"]
}
path "sys/internal/ui/resultant-acl" {
  capabilities = ["read"]
}

# Wrapped answers: who has the wrapping token opens them.
path "sys/wrapping/wrap" {
  capabilities = ["update"]
}
path "sys/wrapping/lookup" {
  capabilities = ["update"]
}
path "sys/wrapping/unwrap" {
  capabilities = ["update"]
}
path "sys/wrapping/rewrap" {
  capabilities = ["update"]
}
`
