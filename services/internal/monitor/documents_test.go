package monitor

import (
	"errors"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/curfew-project/curfew/auditor"
	"github.com/curfew-project/curfew/issuer"
	"github.com/curfew-project/curfew/shared/store/storetest"
)

// The files that operators have, seen from here.
const (
	documented = "../../../docs/metrics.md"
	operations = "../../../docs/operations.md"
	rules      = "../../../deploy/prometheus/curfew.rules.yml"
	ruleTests  = "../../../deploy/prometheus/curfew.rules.test.yml"
)

func text(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// idle is an auditor that does nothing.
type idle struct{}

func (idle) Appends() bool                   { return false }
func (idle) Devices() []auditor.DeviceStatus { return nil }

// wired are those of every program, by the name of the program that has
// them.
func wired() map[string][]prometheus.Collector {
	fake := storetest.NewFake(storetest.NewClock())
	no := func() bool { return false }
	publisher := Publisher(no)
	until := Certificate(func() time.Time { return time.Time{} })
	return map[string][]prometheus.Collector{
		"all":     {Store(fake, storetest.NewClock()), Stream(func() error { return errors.New("away") })},
		"issuer":  {Issuer(1, no), publisher, until, TokenCache(func() issuer.TokenCacheStats { return issuer.TokenCacheStats{} })},
		"revoker": {Revoker(fake), publisher},
		"auditor": {Auditor(idle{}), until},
	}
}

var described = regexp.MustCompile(`fqName: "([^"]+)".*variableLabels: \{(.*)\}\}`)

// described are the metrics of a program: name to labels.
func describe(t *testing.T, all []prometheus.Collector) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, c := range all {
		descs := make(chan *prometheus.Desc, 100)
		c.Describe(descs)
		close(descs)
		for d := range descs {
			m := described.FindStringSubmatch(d.String())
			if m == nil {
				t.Fatalf("%s", d)
			}
			out[m[1]] = m[2]
		}
	}
	return out
}

// row is one line of the table of metrics.
type row struct {
	kind, labels, unit, meaning string
	programs                    []string
}

func table(t *testing.T) map[string]row {
	t.Helper()
	out := map[string]row{}
	for _, m := range regexp.MustCompile("(?m)^\\| `(curfew_[a-z0-9_]+)` \\|([^|]*)\\|([^|]*)\\|([^|]*)\\|([^|]*)\\|(.*)\\|$").FindAllStringSubmatch(text(t, documented), -1) {
		trim := func(s string) string { return strings.TrimSpace(strings.ReplaceAll(s, "`", "")) }
		out[m[1]] = row{
			kind: trim(m[2]), labels: strings.ReplaceAll(trim(m[3]), ", ", ","), unit: trim(m[4]), meaning: trim(m[6]),
			programs: strings.Split(trim(m[5]), ", "),
		}
	}
	return out
}

// Law: what is documented is what the programs have, and the other way round.
func TestEveryMetricIsDocumented(t *testing.T) {
	t.Parallel()
	docs := table(t)
	if len(docs) < 40 {
		t.Fatalf("the table has %d rows", len(docs))
	}
	claimed := map[string][]string{"curfew_build_info": {"all"}}
	for program, all := range wired() {
		for name, labels := range describe(t, all) {
			claimed[name] = append(claimed[name], program)
			if got, ok := docs[name]; !ok || got.labels != labels {
				t.Errorf("%s of %s with labels %q is documented as %+v", name, program, labels, got)
			}
		}
	}
	for name, r := range docs {
		slices.Sort(r.programs)
		slices.Sort(claimed[name])
		if !slices.Equal(r.programs, claimed[name]) {
			t.Errorf("%s is documented for %v, and %v have it", name, r.programs, claimed[name])
		}
		counts := strings.HasSuffix(name, "_total")
		if counts != (r.kind == "counter") || r.unit == "" || r.meaning == "" || r.kind == "histogram" != (name == "curfew_issue_seconds" || name == "curfew_expiry_lag_seconds") {
			t.Errorf("%s: %+v", name, r)
		}
	}
	// No label can hold a lease or a name in a target.
	for name, r := range docs {
		for label := range strings.SplitSeq(r.labels, ",") {
			if !slices.Contains([]string{
				"", "program", "version", "process", "mount", "target", "epoch", "reason", "kind", "state", "fate", "outcome", "stage", "device", "result",
			}, label) {
				t.Errorf("%s has the label %q: is the number of its values bounded?", name, label)
			}
		}
	}
}

// Law: rules ask for metrics that there are; each alert says what to do, and is
// tested.
func TestEveryAlertIsExplained(t *testing.T) {
	t.Parallel()
	asked := text(t, rules)
	docs := table(t)
	for _, name := range regexp.MustCompile(`curfew_[a-z0-9_]+`).FindAllString(asked, -1) {
		if _, ok := docs[strings.TrimSuffix(name, "_bucket")]; !ok {
			t.Errorf("a rule asks for %s, which there is not", name)
		}
	}
	alerts := map[string]bool{}
	for _, m := range regexp.MustCompile(`- alert: (\w+)`).FindAllStringSubmatch(asked, -1) {
		alerts[m[1]] = true
		if link := "docs/operations.md#" + strings.ToLower(m[1]) + "\n"; strings.Count(asked, link) != 1 {
			t.Errorf("%s does not lead to its own part of operations.md", m[1])
		}
		if !strings.Contains(text(t, ruleTests), "name: "+m[1]+"\n") {
			t.Errorf("%s is not tested", m[1])
		}
	}
	explained := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^### (Curfew\w+)$`).FindAllStringSubmatch(text(t, operations), -1) {
		explained[m[1]] = true
	}
	if len(alerts) < 20 || !maps.Equal(alerts, explained) {
		t.Errorf("alerts are\n%v, explained are\n%v", slices.Sorted(maps.Keys(alerts)), slices.Sorted(maps.Keys(explained)))
	}
}
