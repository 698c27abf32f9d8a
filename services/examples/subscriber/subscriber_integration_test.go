//go:build integration

package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/curfew-project/curfew/shared/bus/jetstream"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/secret"
	"github.com/curfew-project/curfew/shared/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

const (
	password = "not a secret of anyone"
	hang     = time.Minute // only a hang takes so long
)

// broker is the stream as `curfew server` runs it, open to subscribers.
type broker struct {
	bus          *jetstream.Bus
	url          string
	passwordFile string
	number       int64
}

func newBroker(t *testing.T) *broker {
	t.Helper()
	bus, url, err := jetstream.Embed(t.Context(), jetstream.EmbedConfig{
		Dir: t.TempDir(), Listen: "127.0.0.1:0", Subscriber: secret.New(password),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), hang)
		defer cancel()
		if err := bus.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return &broker{bus: bus, url: url, passwordFile: writeFile(t, "password", password+"\n", 0o600)}
}

func writeFile(t *testing.T, name, content string, mode os.FileMode) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
	return file
}

func ended(of event.Type, id lease.ID, version int64, reason string) event.Event {
	return event.Event{
		Type: of, Time: time.Unix(1_800_000_000, 0), Subject: string(id),
		Data: event.Data{
			LeaseID: id, Version: version, Mount: "database/", Role: "readonly",
			Account: "v-" + filepath.Base(string(id)), Reason: reason,
		},
	}
}

// publish sends events, each with a number of its own, so that the broker takes
// none for one it has.
func (b *broker) publish(t *testing.T, events ...event.Event) {
	t.Helper()
	for i := range events {
		b.number++
		events[i].Position = event.Position{Epoch: 1, Number: b.number}
	}
	if acked, err := b.bus.Publish(t.Context(), events); err != nil || acked != len(events) {
		t.Fatalf("published %d of %d: %v", acked, len(events), err)
	}
}

// running is a subscriber under test.
type running struct {
	out  *output
	stop func() // and wait for its end
}

func (b *broker) subscribe(t *testing.T, command ...string) *running {
	t.Helper()
	return subscribe(t, slices.Concat([]string{"-nats", b.url, "-password-file", b.passwordFile, "--"}, command))
}

func subscribe(t *testing.T, args []string) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	out := &output{}
	done := make(chan error, 1)
	go func() { done <- run(ctx, args, out) }()
	stop := sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("subscriber ended with: %v", err)
			}
		case <-time.After(hang):
			t.Error("subscriber did not stop")
		}
	})
	t.Cleanup(stop)
	return &running{out: out, stop: stop}
}

// output is what the subscriber printed so far.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// recorder is a command that writes what it was told into a file.
func recorder(t *testing.T) (script, file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "reactions")
	return writeFile(t, "react", `#!/bin/sh
echo "$CURFEW_EVENT|$CURFEW_LEASE_ID|$CURFEW_ACCOUNT|$CURFEW_ROLE|$CURFEW_REASON" >>`+file+"\n", 0o700), file
}

// eventually waits until holds does.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(hang); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func lines(t *testing.T, file string) []string {
	t.Helper()
	text, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
}

// D3: at least once, versions per lease, ignore lower ones.
func TestReactsOnceToEachLease(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	const first, second, third = "database/creds/readonly/first", "database/creds/readonly/second", "database/creds/readonly/third"
	b.publish(t,
		ended(event.LeaseRevoked, first, 5, "asked for"),
		ended(event.LeaseRevoked, first, 5, "asked for"),
		ended(event.LeaseRevoked, first, 4, "late"),
		ended(event.LeaseCreated, third, 2, ""),
		ended(event.LeaseRevoking, third, 3, ""),
		ended(event.LeaseRevoked, second, 4, "lease expired"),
	)
	script, file := recorder(t)
	s := b.subscribe(t, script)
	eventually(t, "a reaction to the last event", func() bool { return strings.Contains(s.out.String(), second+" ") })
	s.stop()

	want := []string{
		"lease.revoked|" + first + "|v-first|readonly|asked for",
		"lease.revoked|" + second + "|v-second|readonly|lease expired",
	}
	if got := lines(t, file); !slices.Equal(got, want) {
		t.Errorf("reactions:\n%q\nwant\n%q\noutput:\n%s", got, want, s.out)
	}
}

func TestFailedCommandIsTriedAgain(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	inner, file := recorder(t)
	once := filepath.Join(t.TempDir(), "failed-once")
	script := writeFile(t, "fail-first", `#!/bin/sh
if [ ! -e `+once+` ]; then touch `+once+`; echo "pool is busy" >&2; exit 3; fi
exec `+inner+"\n", 0o700)
	const id = "database/creds/readonly/stubborn"
	b.publish(t, ended(event.LeaseExpired, id, 4, "ran out"))
	s := b.subscribe(t, script)
	eventually(t, "the second try", func() bool { return len(lines(t, file)) > 0 })
	eventually(t, "the reaction", func() bool { return strings.Contains(s.out.String(), "lease.expired "+id) })
	s.stop()

	if got := lines(t, file); len(got) != 1 {
		t.Errorf("%d reactions, want 1: %q", len(got), got)
	}
	if said := s.out.String(); !strings.Contains(said, "will try again") || !strings.Contains(said, "pool is busy") {
		t.Errorf("the failure is not told:\n%s", said)
	}
}

// The place in the stream outlives the program.
func TestGoesOnWhereItStopped(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	script, file := recorder(t)
	for i, id := range []lease.ID{"database/creds/readonly/before", "database/creds/readonly/after"} {
		b.publish(t, ended(event.LeaseRevoked, id, 4, "asked for"))
		s := b.subscribe(t, script)
		eventually(t, "a reaction to "+string(id), func() bool { return strings.Contains(s.out.String(), string(id)) })
		s.stop()
		if got := lines(t, file); len(got) != i+1 {
			t.Errorf("%d reactions after %s, want %d: %q", len(got), id, i+1, got)
		}
	}
}

// A message that is no event must not block those behind it, and a server that
// was away must not end the program.
func TestOutlivesRubbishAndOutage(t *testing.T) {
	t.Parallel()
	server := testkit.NATS(t)
	bus, err := jetstream.Dial(t.Context(), server.URL(), jetstream.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = bus.Close(context.Background()) })
	b := &broker{bus: bus, url: server.URL(), passwordFile: writeFile(t, "password", password, 0o600)}
	s := b.subscribe(t)

	conn := server.Connect(t)
	if err := conn.PublishMsg(&nats.Msg{Subject: "curfew.event.lease.revoked.database", Data: []byte("rubbish")}); err != nil {
		t.Fatal(err)
	}
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
	b.publish(t, ended(event.LeaseRevoked, "database/creds/readonly/sound", 4, "asked for"))
	eventually(t, "the event behind the rubbish", func() bool { return strings.Contains(s.out.String(), "readonly/sound") })
	if !strings.Contains(s.out.String(), "put aside") {
		t.Errorf("the rubbish is not told:\n%s", s.out)
	}

	server.Stop(t)
	server.Start(t)
	eventually(t, "the stream to be back", func() bool {
		b.number++
		e := ended(event.LeaseRevoked, "database/creds/readonly/later", 4, "asked for")
		e.Position = event.Position{Epoch: 1, Number: b.number}
		acked, err := b.bus.Publish(t.Context(), []event.Event{e})
		return err == nil && acked == 1
	})
	eventually(t, "an event after the outage", func() bool { return strings.Contains(s.out.String(), "readonly/later") })
}

func TestRefusesToStart(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	wrong := writeFile(t, "password", "wrong "+password, 0o600)
	for name, tc := range map[string]struct {
		args []string
		says string
	}{
		"no password file": {[]string{"-nats", b.url}, "-password-file is needed"},
		"missing file":     {[]string{"-nats", b.url, "-password-file", wrong + "x"}, "read the password"},
		"wrong password":   {[]string{"-nats", b.url, "-password-file", wrong}, "connect"},
		"no server":        {[]string{"-nats", "nats://127.0.0.1:1", "-password-file", wrong}, "connect"},
		"unknown flag":     {[]string{"-natz", b.url}, "natz"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out := &output{}
			err := run(t.Context(), tc.args, out)
			if err == nil || !strings.Contains(err.Error(), tc.says) {
				t.Fatalf("error is %v, want one that says %q", err, tc.says)
			}
			if strings.Contains(err.Error()+out.String(), password) {
				t.Error("the password is shown")
			}
		})
	}
}
