package main

import (
	"strings"
	"testing"
)

func nothing(string) string { return "" }

func TestOptions(t *testing.T) {
	t.Parallel()
	o, err := parse([]string{"-run=issue,expiry", "-clients=4", "-form=distributed"}, nothing)
	if err != nil || len(o.run) != 2 || o.work.Clients[0] != 4 || o.form != distributed || o.work.Leases != 10_000 {
		t.Errorf("unexpected options %+v, %v", o, err)
	}
	getenv := func(name string) string {
		return map[string]string{"VAULT_TOKEN": "t", "BENCH_TARGET": "postgres://u:hidden@db:5433/shop?sslmode=require"}[name]
	}
	o, err = parse([]string{"-address=http://a"}, getenv)
	if err != nil || o.token.Reveal() != "t" || o.target.Host != "db" || o.target.Port != 5433 || o.target.Database != "shop" ||
		o.target.User != "u" || o.target.Password.Reveal() != "hidden" || o.target.Options != "sslmode=require" {
		t.Errorf("unexpected target %+v, %v", o.target, err)
	}
}

func TestOptionsAreRefused(t *testing.T) {
	t.Parallel()
	for args, says := range map[string]string{
		"-form=x":              "neither",
		"-run=issue,x":         `no "x"`,
		"-roles=x":             `no "x"`,
		"-clients=0":           "no number of clients",
		"-clients=":            "no number of clients",
		"-revokers=0":          "no number of revokers",
		"-targets=0":           "at least 1",
		"-latency=-1s":         "at least 1",
		"-time=0s":             "above 0",
		"-leases=1":            "at least 10",
		"rest":                 "no argument",
		"-address=http://a":    "-target",
		"-address=a -target=x": "-target",
		"-address=a -target=postgres://u:hidden@db/x":      "VAULT_TOKEN",
		"-address=a -target=postgres://u:hidden@db:port/x": "-target",
	} {
		_, err := parse(strings.Fields(args), nothing)
		if err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "hidden") {
			t.Errorf("%s: %v, want an error that says %q", args, err, says)
		}
	}
}
