package quota

import "github.com/curfew-project/curfew/shared/engine"

// Help explains the paths that a [Desk] serves.
func Help() []engine.Help {
	return []engine.Help{
		{
			Path: "sys/quotas/config", Synopsis: "Settings of all quotas.",
			Text: "GET shows them. PUT sets rate_limit_exempt_paths (one that ends in * is a prefix) and enable_rate_limit_response_headers.",
		},
		{Path: "sys/quotas/rate-limit", Synopsis: "The rate limits.", Text: "LIST lists their names."},
		{
			Path: "sys/quotas/rate-limit/…", Synopsis: "A rate limit, for each client address, by each issuer.",
			Text: "PUT sets it: rate requests in each interval (1s) below path (empty: everything); who exceeds it is refused with 429, " +
				"for block_interval if that is set. GET reads, DELETE deletes it. The longest path governs a request. " +
				"What takes access away is never refused.",
		},
		{Path: "sys/quotas/lease-count", Synopsis: "The lease counts.", Text: "LIST lists their names."},
		{
			Path: "sys/quotas/lease-count/…", Synopsis: "How many leases may live, over all issuers.",
			Text: "PUT sets it: max_leases below path (empty: everything). GET reads it, with counter, how many it governs now; DELETE deletes it. " +
				"The longest path governs a lease. Counted are credentials until their absence is proved, and tokens that expire.",
		},
	}
}
