package jetstream

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/curfew-project/curfew/shared/secret"
)

func TestOlder(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]bool{
		"2.9.25": true, "2.10.0": false, "2.15.2": false, "3.0.0": false, "1.99.1": true,
		"2.10.0-beta.1": false, "": false, "next": false, "2": false,
	} {
		if got := older(version, 2, 10); got != want {
			t.Errorf("older(%q) = %t, want %t", version, got, want)
		}
	}
}

func TestRemote(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]bool{
		"nats://127.0.0.1:4222": false, "nats://[::1]:4222": false, "nats://localhost:4222": false, "": false,
		"nats://10.0.0.7:4222": true, "nats://nats.internal:4222": true,
	} {
		if got := remote(address); got != want {
			t.Errorf("remote(%q) = %t, want %t", address, got, want)
		}
	}
}

// A replica that is behind is no news; one that its leader has not heard is.
func TestUnheard(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		replica jetstream.PeerInfo
		want    bool
	}{
		"well":                    {jetstream.PeerInfo{Current: true, Active: time.Second}, false},
		"heard this instant":      {jetstream.PeerInfo{Current: true}, false},
		"behind":                  {jetstream.PeerInfo{Lag: 1000, Active: time.Second}, false},
		"silent":                  {jetstream.PeerInfo{Active: silence}, true},
		"never heard by a leader": {jetstream.PeerInfo{}, true},
	} {
		if got := unheard(&c.replica); got != c.want {
			t.Errorf("%s: %t, want %t", name, got, c.want)
		}
	}
}

// Settings that Curfew has no opinion on are the operators'.
func TestFitKeepsWhatOthersSet(t *testing.T) {
	t.Parallel()
	var cfg Config
	cfg.defaults()
	have := jetstream.StreamConfig{
		Subjects: []string{"a"}, Storage: jetstream.MemoryStorage, MaxAge: time.Hour,
		Compression: jetstream.S2Compression, Placement: &jetstream.Placement{Cluster: "east"},
	}
	want := cfg.fit(have)
	if want.Compression != have.Compression || want.Placement != have.Placement {
		t.Errorf("compression or placement changed: %+v", want)
	}
	if d := differences(have, want); len(d) != 6 {
		t.Errorf("%d differences, want subjects, storage, age, bytes, replicas and window: %q", len(d), d)
	}
	if d := differences(want, cfg.fit(want)); len(d) != 0 {
		t.Errorf("a stream that fits differs: %q", d)
	}
}

func TestConfigRefused(t *testing.T) {
	t.Parallel()
	const urls = "nats://a:4222,nats://b:4222"
	password := secret.New("p")
	for name, c := range map[string]struct {
		urls   string
		client Client
		ok     bool
	}{
		"nothing":            {urls, Client{}, true},
		"user":               {urls, Client{User: "u", Password: password}, true},
		"client certificate": {urls, Client{CertFile: "c", KeyFile: "k"}, true},
		"no password":        {urls, Client{User: "u"}, false},
		"no user":            {urls, Client{Password: password}, false},
		"two logins":         {urls, Client{Token: password, NKeyFile: "f"}, false},
		"no key":             {urls, Client{CertFile: "c"}, false},
		"login in a URL":     {"nats://u:p@a:4222", Client{}, false},
		"token in a URL":     {"nats://t@a:4222", Client{}, false},
		"not a URL":          {"a:4222", Client{}, false},
		"no URL":             {"", Client{}, false},
	} {
		if err := c.client.validate(c.urls); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, c := range map[string]Config{
		"even": {Replicas: 2}, "many": {Replicas: 7}, "negative": {Replicas: -1},
		"young": {MaxAge: time.Minute}, "small": {MaxBytes: 1000},
	} {
		c.defaults()
		if c.validate() == nil {
			t.Errorf("%s: taken", name)
		}
	}
}
