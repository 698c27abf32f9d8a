package report

import "strings"

// Plots are those that the series of the run make, by the name of a file.
func (r *Report) Plots() map[string]Plot {
	all := map[string]Plot{
		"issue-rate":    {Title: "Issued per second", X: "clients", Y: "per second", Steps: true, Lines: r.lines("issue per second, ", "bare per second, ")},
		"issue-latency": {Title: "Latency of issuing, p99", X: "clients", Y: "ms", Steps: true, Lines: r.lines("issue p99, ")},
		"expiry-lag":    {Title: "Mass expiry: share of accounts by the time since they were due", X: "s", Y: "%", Lines: r.lines("gone", "disabled")},
		"scale-out":     {Title: "Leases taken away per second", X: "revokers", Y: "per second", Steps: true, Lines: r.lines("scale-out")},
		"memory":        {Title: "Memory of the server", X: "live leases", Y: "MB", Lines: r.lines("memory")},
	}
	for name, p := range all {
		if len(p.Lines) == 0 {
			delete(all, name)
		}
	}
	return all
}

// lines are the series whose names begin so.
func (r *Report) lines(prefixes ...string) map[string][]Point {
	out := map[string][]Point{}
	for name, points := range r.Series {
		for _, prefix := range prefixes {
			if strings.HasPrefix(name, prefix) {
				out[name] = points
			}
		}
	}
	return out
}
