//go:build integration

package jetstream_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	natsserver "github.com/nats-io/nats-server/v2/server"
	natsjs "github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"

	"github.com/curfew-project/curfew/shared/bus/jetstream"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/secret"
	"github.com/curfew-project/curfew/shared/testkit"
)

// Promise 6: a process starts while NATS is away, says so, and uses it as soon
// as it is there.
func TestStartsWhileAway(t *testing.T) {
	t.Parallel()
	server := testkit.NATSProcesses(t, 1)[0]
	server.Stop(t)
	b := dial(t, server.URL(), jetstream.Config{})
	if err := b.Disconnected(); !errors.Is(err, jetstream.ErrDisconnected) {
		t.Errorf("disconnected: %v", err)
	}
	if n, err := b.Publish(t.Context(), []event.Event{numbered(1)}); n != 0 || !errors.Is(err, jetstream.ErrDisconnected) {
		t.Errorf("publish: %d, %v", n, err)
	}
	if _, err := b.Consume(t.Context(), "c", false); !errors.Is(err, jetstream.ErrDisconnected) {
		t.Errorf("consume: %v", err)
	}
	if err := b.Announce(t.Context(), event.Position{}); !errors.Is(err, jetstream.ErrDisconnected) {
		t.Errorf("announce: %v", err)
	}
	if w := b.Check(t.Context()); len(w) != 1 || !strings.Contains(w[0], "not connected") {
		t.Errorf("check: %q", w)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	heads, err := b.Heads(ctx) // is there when the server is
	if err != nil {
		t.Fatal(err)
	}
	server.Start(t)
	r := consume(t, b, "c", true)
	s := &sender{bus: b}
	s.upTo(t, 100)
	r.upTo(t, 100)
	eventually(t, "a head", func(ctx context.Context) error {
		if err := b.Announce(ctx, event.Position{Epoch: 1, Number: 100}); err != nil {
			return err
		}
		select {
		case p := <-heads:
			if p.Number != 100 {
				t.Errorf("head %s", p)
			}
			return nil
		default:
			return errors.New("none yet")
		}
	})
	if w := b.Check(t.Context()); len(w) != 0 {
		t.Errorf("check: %q", w)
	}
}

// What waiting does not cure is an error at the start, and no error shows a
// secret. One server that is away does not hide that another refuses us.
func TestLogins(t *testing.T) {
	t.Parallel()
	const password, wrong = "right-8fd1", "wrong-77ac"
	pair, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	public, err := pair.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	seed, err := pair.Seed()
	if err != nil {
		t.Fatal(err)
	}
	seedFile := filepath.Join(t.TempDir(), "seed")
	if err := os.WriteFile(seedFile, seed, 0o600); err != nil {
		t.Fatal(err)
	}
	users := testkit.NATSProcesses(t, 1, fmt.Sprintf(`authorization { users: [ {user: curfew, password: %q}, {nkey: %q} ] }`, password, public))[0]
	token := testkit.NATSProcesses(t, 1, fmt.Sprintf(`authorization { token: %q }`, password))[0]
	const away = "nats://127.0.0.1:1,"
	for name, c := range map[string]struct {
		urls   string
		client jetstream.Client
		ok     bool
	}{
		"user":            {users.URL(), jetstream.Client{User: "curfew", Password: secret.New(password)}, true},
		"nkey":            {users.URL(), jetstream.Client{NKeyFile: seedFile}, true},
		"token":           {token.URL(), jetstream.Client{Token: secret.New(password)}, true},
		"wrong password":  {users.URL(), jetstream.Client{User: "curfew", Password: secret.New(wrong)}, false},
		"wrong, one away": {away + users.URL(), jetstream.Client{User: "curfew", Password: secret.New(wrong)}, false},
		"nobody":          {users.URL(), jetstream.Client{}, false},
		"wrong token":     {token.URL(), jetstream.Client{Token: secret.New(wrong)}, false},
		"no nkey file":    {users.URL(), jetstream.Client{NKeyFile: seedFile + "x"}, false},
		"no certificates": {users.URL(), jetstream.Client{CAFile: seedFile + "x"}, false},
	} {
		b, err := jetstream.Dial(t.Context(), c.urls, jetstream.Config{Client: c.client})
		if err == nil {
			if !c.ok {
				t.Errorf("%s: taken", name)
			} else if n, err := b.Publish(t.Context(), []event.Event{numbered(1)}); n != 1 {
				t.Errorf("%s: publish: %v", name, err)
			}
			closeBus(t, b)
			continue
		}
		if c.ok {
			t.Errorf("%s: %v", name, err)
		}
		if text := err.Error(); strings.Contains(text, password) || strings.Contains(text, wrong) || strings.Contains(text, string(seed)) {
			t.Errorf("%s: the error shows a secret", name)
		}
	}
}

// TLS with an authority of one's own and a client certificate.
func TestTLS(t *testing.T) {
	t.Parallel()
	pki := newPKI(t)
	server := testkit.NATS(t, func(o *natsserver.Options) {
		config, err := natsserver.GenTLSConfig(&natsserver.TLSConfigOpts{
			CertFile: pki.server.cert, KeyFile: pki.server.key, CaFile: pki.ca, Verify: true,
		})
		if err != nil {
			t.Fatal(err)
		}
		o.TLSConfig, o.TLSVerify = config, true
	})
	plain := testkit.NATS(t)
	for name, c := range map[string]struct {
		url    string
		client jetstream.Client
		ok     bool
	}{
		"both":                  {server.URL(), jetstream.Client{CAFile: pki.ca, CertFile: pki.client.cert, KeyFile: pki.client.key}, true},
		"no client certificate": {server.URL(), jetstream.Client{CAFile: pki.ca}, false},
		"foreign certificate":   {server.URL(), jetstream.Client{CAFile: pki.ca, CertFile: pki.foreign.cert, KeyFile: pki.foreign.key}, false},
		"foreign authority":     {server.URL(), jetstream.Client{CAFile: pki.foreignCA, CertFile: pki.client.cert, KeyFile: pki.client.key}, false},
		"server without TLS":    {plain.URL(), jetstream.Client{CAFile: pki.ca}, false},
	} {
		b, err := jetstream.Dial(t.Context(), c.url, jetstream.Config{Client: c.client})
		if err != nil {
			if c.ok {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		// The refusal of a client's certificate can be lost with the connection.
		late := c.client.CAFile == pki.ca && c.url == server.URL()
		if n, err := b.Publish(t.Context(), []event.Event{numbered(1)}); (n == 1) != c.ok || !c.ok && !late {
			t.Errorf("%s: taken, publish: %d, %v", name, n, err)
		}
		closeBus(t, b)
	}
}

// The permissions that the package comment lists are enough, and no more than
// needed: without each line the program's check names what is missing.
func TestPermissions(t *testing.T) {
	t.Parallel()
	subjects := func(list ...string) string { return `["` + strings.Join(list, `", "`) + `"]` }
	settings := fmt.Sprintf(`
authorization { users: [
  {user: admin, password: p}
  {user: issuer, password: p, permissions: {publish: %s, subscribe: %s}}
  {user: revoker, password: p, permissions: {publish: %s, subscribe: %s}}
  {user: auditor, password: p, permissions: {publish: %s, subscribe: %s}}
  {user: nobody, password: p, permissions: {publish: %s, subscribe: %s}}
] }`,
		subjects(jetstream.PublisherMayPublish()...), subjects("_INBOX.>", "curfew.head"),
		subjects(append(jetstream.PublisherMayPublish(), jetstream.ConsumerMayPublish()...)...), subjects("_INBOX.>", "curfew.head"),
		subjects(jetstream.ConsumerMayPublish()...), subjects("_INBOX.>", "curfew.head"),
		subjects("nothing"), subjects("_INBOX.>"))
	url := testkit.NATSProcesses(t, 1, settings)[0].URL()
	// Some operators' streams can be read directly, through another subject.
	admin, err := natsjs.New(connect(t, strings.Replace(url, "://", "://admin:p@", 1)))
	if err != nil {
		t.Fatal(err)
	}
	made := natsjs.StreamConfig{Name: jetstream.StreamName, Subjects: []string{"curfew.event.>"}, AllowDirect: true}
	if _, err := admin.CreateStream(t.Context(), made); err != nil {
		t.Fatal(err)
	}
	as := func(user string) *jetstream.Bus {
		return dial(t, url, jetstream.Config{Client: jetstream.Client{User: user, Password: secret.New("p")}})
	}
	nobody := as("nobody")
	if n, err := nobody.Publish(t.Context(), []event.Event{numbered(1)}); n != 0 || !errors.Is(err, jetstream.ErrDenied) {
		t.Errorf("publish as nobody: %d, %v", n, err)
	}
	if _, err := nobody.Consume(t.Context(), "c", false); !errors.Is(err, jetstream.ErrDenied) {
		t.Errorf("consume as nobody: %v", err)
	}
	warnings := strings.Join(nobody.Check(t.Context()), "\n")
	for _, subject := range []string{"curfew.event.", "$JS.API.INFO", "$JS.API.STREAM.INFO.CURFEW_EVENTS", "$JS.API.CONSUMER.CREATE.CURFEW_EVENTS."} {
		if !strings.Contains(warnings, subject) {
			t.Errorf("the check does not name %s:\n%s", subject, warnings)
		}
	}

	issuer, revoker, auditor := as("issuer"), as("revoker"), as("auditor")
	(&sender{bus: issuer}).upTo(t, 100)
	indexer := consume(t, revoker, "indexer", false)
	durable, fresh := consume(t, auditor, "record", true), consume(t, auditor, "auditor", false)
	(&sender{bus: revoker, sent: 100}).upTo(t, 200)
	for _, r := range []*receiver{indexer, durable, fresh} {
		r.upTo(t, 200)
	}
	replayed := 0
	for _, err := range auditor.Replay(t.Context(), numbered(1).Time.AddDate(-50, 0, 0)) {
		if err != nil {
			t.Fatal(err)
		}
		replayed++
	}
	if replayed != 200 {
		t.Errorf("replayed %d events, want 200", replayed)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	heads, err := auditor.Heads(ctx)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "a head", func(ctx context.Context) error {
		if err := issuer.Announce(ctx, event.Position{Epoch: 1, Number: 200}); err != nil {
			return err
		}
		select {
		case <-heads:
			return nil
		default:
			return errors.New("none yet")
		}
	})
	for name, b := range map[string]*jetstream.Bus{"issuer": issuer, "revoker": revoker, "auditor": auditor} {
		if w := b.Check(t.Context()); len(w) != 0 {
			t.Errorf("check as %s: %q", name, w)
		}
		if last, err := b.Tail(t.Context()); err != nil || last.Position.Number != 200 {
			t.Errorf("the tail as %s is %s, %v", name, last.Position, err)
		}
	}
	if last, err := nobody.Tail(t.Context()); err != nil || last.Position.Number != 0 {
		t.Errorf("the tail as nobody is %s, %v", last.Position, err)
	}
	if _, err := auditor.Publish(t.Context(), []event.Event{numbered(999)}); !errors.Is(err, jetstream.ErrDenied) {
		t.Errorf("the auditor may publish: %v", err)
	}
	if _, err := issuer.Consume(t.Context(), "c", true); !errors.Is(err, jetstream.ErrDenied) {
		t.Errorf("the issuer may consume: %v", err)
	}
}

// A stream made by others is brought to its settings where the server permits,
// and otherwise told.
func TestForeignStream(t *testing.T) {
	t.Parallel()
	url := testkit.NATSProcesses(t, 1, `jetstream { store_dir: "{{dir}}/jetstream" }`)[0].URL()
	js, err := natsjs.New(connect(t, url))
	if err != nil {
		t.Fatal(err)
	}
	made := natsjs.StreamConfig{
		Name: jetstream.StreamName, Subjects: []string{"curfew.event.lease.>"}, Storage: natsjs.MemoryStorage,
		Discard: natsjs.DiscardNew, MaxBytes: 2 << 20, MaxMsgsPerSubject: 7, Metadata: map[string]string{"team": "ops"},
	}
	if _, err := js.CreateStream(t.Context(), made); err != nil {
		t.Fatal(err)
	}
	b := dial(t, url, jetstream.Config{})
	if n, err := b.Publish(t.Context(), []event.Event{numbered(1)}); n != 1 || err != nil {
		t.Fatalf("publish: %d, %v", n, err)
	}
	warnings := strings.Join(b.Check(t.Context()), "\n")
	for _, part := range []string{"storage is Memory, want File", "max_msgs_per_subject is 7"} {
		if !strings.Contains(warnings, part) {
			t.Errorf("the check does not say %q:\n%s", part, warnings)
		}
	}
	// A stream that only differs in what may change is changed.
	made.Storage = natsjs.FileStorage
	if err := js.DeleteStream(t.Context(), made.Name); err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), made); err != nil {
		t.Fatal(err)
	}
	c := dial(t, url, jetstream.Config{})
	if n, err := c.Publish(t.Context(), []event.Event{numbered(1)}); n != 1 || err != nil {
		t.Fatalf("publish: %d, %v", n, err)
	}
	s, err := js.Stream(t.Context(), jetstream.StreamName)
	if err != nil {
		t.Fatal(err)
	}
	got := s.CachedInfo().Config
	if got.Subjects[0] != "curfew.event.>" || got.Discard != natsjs.DiscardOld || got.MaxBytes != 1<<30 || got.Metadata["team"] != "ops" {
		t.Errorf("the stream is %+v", got)
	}
}

// What Check says of servers that lack something.
func TestCheck(t *testing.T) {
	t.Parallel()
	without := testkit.NATS(t, func(o *natsserver.Options) { o.JetStream = false })
	b := dial(t, without.URL(), jetstream.Config{})
	if w := strings.Join(b.Check(t.Context()), "\n"); !strings.Contains(w, "JetStream is not enabled") {
		t.Errorf("without JetStream: %s", w)
	}
	if n, err := b.Publish(t.Context(), []event.Event{numbered(1)}); n != 0 || err == nil {
		t.Errorf("publish without JetStream: %d, %v", n, err)
	}

	small := testkit.NATSProcesses(t, 1, `
accounts { A: { jetstream: {max_file: 4MB}, users: [{user: a, password: p}] } }`)[0]
	c := dial(t, small.URL(), jetstream.Config{Client: jetstream.Client{User: "a", Password: secret.New("p")}})
	w := strings.Join(c.Check(t.Context()), "\n")
	for _, part := range []string{"the account may store 4194304 bytes, want 1073741824", "could not be made"} {
		if !strings.Contains(w, part) {
			t.Errorf("with a small account the check does not say %q:\n%s", part, w)
		}
	}

	cluster := testkit.NATSProcesses(t, 3)
	d := dial(t, urls(cluster...), jetstream.Config{})
	(&sender{bus: d}).upTo(t, 10)
	if w := strings.Join(d.Check(t.Context()), "\n"); !strings.Contains(w, "set replicas to 3") {
		t.Errorf("one replica on a cluster of three: %s", w)
	}
	e := dial(t, urls(cluster...), jetstream.Config{Replicas: 3})
	eventually(t, "the change to three replicas", func(ctx context.Context) error {
		if _, err := e.Publish(ctx, []event.Event{numbered(11)}); err != nil {
			return err
		}
		if w := e.Check(ctx); len(w) > 0 {
			return fmt.Errorf("%q", w)
		}
		return nil
	})
}
