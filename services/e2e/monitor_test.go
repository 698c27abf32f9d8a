//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/curfew-project/curfew/shared/testkit"
)

// watched is a server whose metrics can be read.
func watched(tb testing.TB) (s *curfew, addresses []string) {
	tb.Helper()
	if distributed() {
		s = newCurfew(tb)
		return s, s.monitors(tb)
	}
	address := fmt.Sprintf("127.0.0.1:%d", testkit.Port(tb))
	return newCurfew(tb, fmt.Sprintf("monitor { address = %q }", address)), []string{"http://" + address}
}

// series is one line of a scrape: where it is from, the metric with its labels,
// and its value.
type series struct{ instance, name, value string }

// stopped is the target that is stopped, as metrics call it.
const stopped = "database/db"

var (
	ownLine  = regexp.MustCompile(`(?m)^(curfew_[a-z0-9_]+)(\{\S*\})? (\S+)$`)
	typeLine = regexp.MustCompile(`(?m)^# TYPE (curfew_\S+) (\S+)$`)
)

// scrape reads all metrics of Curfew's own as Prometheus would have them.
func scrape(tb testing.TB, addresses []string) (all []series) {
	tb.Helper()
	for i, address := range addresses {
		instance := fmt.Sprintf("instance=%q", strconv.Itoa(i))
		for _, m := range ownLine.FindAllStringSubmatch(string(get(tb, address+"/metrics")), -1) {
			labels := "{" + instance + "}"
			if inner := strings.Trim(m[2], "{}"); inner != "" {
				labels = "{" + inner + "," + instance + "}"
			}
			all = append(all, series{instance, m[1] + labels, m[3]})
		}
	}
	return all
}

// most is the highest value of a metric of the target that is stopped.
func most(all []series, metric string) (highest float64, there bool) {
	for _, one := range all {
		v, err := strconv.ParseFloat(one.value, 64)
		if err != nil || !strings.HasPrefix(one.name, metric+"{") || !strings.Contains(one.name, fmt.Sprintf("target=%q", stopped)) {
			continue
		}
		if !there || v > highest {
			highest, there = v, true
		}
	}
	return highest, there
}

func promtool(tb testing.TB) string {
	tb.Helper()
	found, err := filepath.Abs("../../.cache/clients/promtool")
	must(tb, err, "find promtool")
	if _, err := os.Stat(found); err == nil {
		return found
	}
	if found, err = exec.LookPath("promtool"); err == nil {
		return found
	}
	if os.Getenv("CURFEW_CI") == "1" {
		tb.Fatal("promtool is missing: make clients")
	}
	tb.Skip("promtool is missing: make clients")
	return ""
}

// expression is that of an alert, as the file of rules has it.
func expression(tb testing.TB, alert string) string {
	tb.Helper()
	text, err := os.ReadFile("../../deploy/prometheus/curfew.rules.yml")
	must(tb, err, "read the rules")
	m := regexp.MustCompile(`- alert: ` + alert + `\n\s+expr: (\S.*)\n`).FindSubmatch(text)
	if m == nil {
		tb.Fatalf("there is no alert %s", alert)
	}
	return string(m[1])
}

// evaluates checks with promtool what an expression is of the metrics that were
// scraped: samples, as promtool writes them.
func evaluates(tb testing.TB, all []series, expr, samples string) {
	tb.Helper()
	quote := func(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
	var b strings.Builder
	b.WriteString("evaluation_interval: 15s\ntests:\n  - interval: 15s\n    input_series:\n")
	for _, one := range all {
		if strings.ContainsAny(one.value, "NI") { // no number
			continue
		}
		v, err := strconv.ParseFloat(one.value, 64)
		must(tb, err, "read a metric")
		value := strconv.FormatFloat(v, 'f', -1, 64) // promtool knows no exponents
		fmt.Fprintf(&b, "      - {series: %s, values: %s}\n", quote(one.name), quote(value+"+0x8"))
	}
	fmt.Fprintf(&b, "    promql_expr_test:\n      - {expr: %s, eval_time: 1m, exp_samples: [%s]}\n", quote(expr), samples)
	file := filepath.Join(tb.TempDir(), "scraped.yml")
	must(tb, os.WriteFile(file, []byte(b.String()), 0o600), "write what was scraped")
	if out, err := exec.CommandContext(tb.Context(), promtool(tb), "test", "rules", file).CombinedOutput(); err != nil {
		tb.Errorf("promtool: %v\n%s", err, out)
	}
}

// Promise 3, as an operator sees it: while a target is stopped, the metrics of the
// real programs make the expression of the alert true, with the target's name; when
// it is back and all is revoked, they make it false. What the programs show is what
// docs/metrics.md says that they do.
func TestAlertOnAStoppedTarget(t *testing.T) {
	t.Parallel()
	promtool(t)
	s, monitors := watched(t)
	c := newVault(t, s)
	target := targetOf(t, testkit.Postgres(t), testkit.CreateRoleAdmin) // its own: it is stopped
	target.setUp(t, c, "database", "5s", "5s")
	expr := expression(t, "CurfewOverdue")
	evaluates(t, scrape(t, monitors), expr, "")
	for range 3 {
		issue(t, c, "database/creds/app")
	}
	target.Stop(t, testkit.Fast)
	var found []series
	eventually(t, hang, func() error {
		found = scrape(t, monitors)
		late, _ := most(found, "curfew_overdue_oldest_seconds")
		failed, _ := most(found, "curfew_revocation_failures_total")
		open, _ := most(found, "curfew_revocations_open")
		if late <= 30 || failed == 0 || open == 0 {
			return fmt.Errorf("%g s late, %g failures, %g open", late, failed, open)
		}
		return nil
	})
	late, _ := most(found, "curfew_overdue_oldest_seconds")
	evaluates(t, found, expr, fmt.Sprintf(`{labels: '{mount="database/", target=%q}', value: %s}`, stopped, strconv.FormatFloat(late, 'f', -1, 64)))
	isDocumented(t, monitors)
	target.Start(t)
	eventually(t, hang, func() error {
		found = scrape(t, monitors)
		if open, there := most(found, "curfew_revocations_open"); there {
			return fmt.Errorf("%g are open", open)
		}
		return nil
	})
	evaluates(t, found, expr, "")
	only(t, target, "v-", hang)
}

// isDocumented compares what the programs show with what is written about each.
func isDocumented(t *testing.T, monitors []string) {
	t.Helper()
	text, err := os.ReadFile("../../docs/metrics.md")
	must(t, err, "read the list of metrics")
	rows := map[string][]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `(curfew_\\w+)` \\| (\\w+) \\|[^|]*\\|[^|]*\\|([^|]*)\\|").FindAllStringSubmatch(string(text), -1) {
		rows[m[1]] = append([]string{m[2]}, strings.Split(strings.TrimSpace(m[3]), ", ")...)
	}
	seen := map[string]bool{}
	for _, address := range monitors {
		body := string(get(t, address+"/metrics"))
		m := regexp.MustCompile(`curfew_build_info\{program="(?:curfew-)?([^"]+)"`).FindStringSubmatch(body)
		if m == nil {
			t.Fatalf("%s does not say what it is", address)
		}
		for _, line := range typeLine.FindAllStringSubmatch(body, -1) {
			seen[line[1]] = true
			row := rows[line[1]]
			if len(row) == 0 || row[0] != line[2] {
				t.Errorf("%s shows the %s %s; documented is %v", m[1], line[2], line[1], row)
				continue
			}
			if m[1] != "curfew server" && !slices.Contains(row[1:], "all") && !slices.Contains(row[1:], m[1]) {
				t.Errorf("%s shows %s, which is documented for %v", m[1], line[1], row[1:])
			}
		}
	}
	// What has no label, or a label whose values are fixed, is there from the
	// beginning; what is there only after something has happened is named here.
	happens := []string{"curfew_strays_reported", "curfew_strays_found_total", "curfew_expiry_lag_seconds", "curfew_audit_device_up", "curfew_audit_device_behind_events"}
	for name := range rows {
		if !seen[name] && !slices.Contains(happens, name) {
			t.Errorf("no program shows %s", name)
		}
	}
}
