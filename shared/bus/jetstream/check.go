package jetstream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// oldest is the first minor release whose answers we rely on: named ephemeral
// consumers whose replicas differ from the stream's.
const oldestMajor, oldestMinor = 2, 10

// silence is how long a replica may say nothing; the servers, too, count one as
// lost after ten seconds.
const silence = 10 * time.Second

// Check looks at the servers, the account and the stream, and says in words for
// a person what is not as it should be and what to change. Nothing of it keeps
// a program from running: the stream is a hint (promise 6). Nil: all is well.
func (b *Bus) Check(ctx context.Context) []string {
	if err := b.Disconnected(); err != nil {
		return []string{fmt.Sprintf("nats: %v; leases end by the store alone until a server answers", err)}
	}
	var out []string
	out = append(out, b.checkServer()...)
	out = append(out, b.checkAccount(ctx)...)
	out = append(out, b.checkStream(ctx)...)
	for _, what := range b.denials.all() {
		line := fmt.Sprintf("nats: the user was refused to %s; allow it if this program needs it", what)
		if !slices.Contains(out, line) {
			out = append(out, line)
		}
	}
	return out
}

func (b *Bus) checkServer() (out []string) {
	if v := b.nc.ConnectedServerVersion(); older(v, oldestMajor, oldestMinor) {
		out = append(out, fmt.Sprintf("nats: server version is %s, want %d.%d or later: upgrade it", v, oldestMajor, oldestMinor))
	}
	if _, err := b.nc.TLSConnectionState(); err != nil && remote(b.nc.ConnectedUrlRedacted()) {
		out = append(out, "nats: the connection is not encrypted: events and the login can be read on the network; set a CA file or a tls:// URL")
	}
	return out
}

func (b *Bus) checkAccount(ctx context.Context) []string {
	var info *jetstream.AccountInfo
	err := b.ask(ctx, "INFO", func(ctx context.Context) (err error) {
		info, err = b.js.AccountInfo(ctx)
		return err
	})
	switch {
	case errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount):
		return []string{"nats: JetStream is not enabled for this account: enable it in the account's configuration or JWT"}
	case errors.Is(err, jetstream.ErrJetStreamNotEnabled):
		return []string{"nats: JetStream is not enabled: add a jetstream block with a store_dir to the server's configuration"}
	case errors.Is(err, ErrDenied):
		return nil // listed with the other refusals
	case err != nil:
		return []string{fmt.Sprintf("nats: JetStream does not answer: %v; it is disabled, or the cluster has no majority", err)}
	}
	limits := info.Limits
	// An account with tiers counts each replica in the limits of its tier,
	// another counts all against one.
	need := b.cfg.MaxBytes * int64(b.cfg.Replicas)
	if tier, ok := info.Tiers["R"+strconv.Itoa(b.cfg.Replicas)]; ok {
		limits, need = tier.Limits, b.cfg.MaxBytes
	} else if len(info.Tiers) > 0 {
		return []string{fmt.Sprintf("nats: the account has no limits for streams of %d replicas: add the tier or change replicas", b.cfg.Replicas)}
	}
	var out []string
	if limits.MaxStore >= 0 && limits.MaxStore < need {
		out = append(out, fmt.Sprintf("nats: the account may store %d bytes, want %d (max_bytes times replicas): raise its limit or lower max_bytes",
			limits.MaxStore, need))
	}
	if m := limits.StoreMaxStreamBytes; m > 0 && m < b.cfg.MaxBytes {
		out = append(out, fmt.Sprintf("nats: the account's streams may have %d bytes, want %d: raise its limit or lower max_bytes", m, b.cfg.MaxBytes))
	}
	return out
}

func (b *Bus) checkStream(ctx context.Context) []string {
	have, err := b.streamInfo(ctx)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		b.mu.Lock()
		problem := b.problem
		b.mu.Unlock()
		line := fmt.Sprintf("nats: stream %s is not there: the publisher makes it", StreamName)
		if problem != nil {
			line += fmt.Sprintf("; here it could not be made: %v", problem)
		}
		return []string{line}
	}
	if errors.Is(err, ErrDenied) {
		return nil
	}
	if err != nil {
		return []string{fmt.Sprintf("nats: stream %s cannot be looked at: %v", StreamName, err)}
	}
	var out []string
	warn := func(format string, args ...any) {
		out = append(out, "nats: stream "+StreamName+": "+fmt.Sprintf(format, args...))
	}
	for _, difference := range differences(have.Config, b.cfg.fit(have.Config)) {
		warn("%s; the publisher changes it where the server permits, else edit the stream, or delete it and it is made anew", difference)
	}
	if have.Config.NoAck {
		warn("no_ack is set, so that publishing waits for acknowledgements in vain: edit the stream")
	}
	if have.Config.Sealed || have.Config.Mirror != nil {
		warn("it is sealed or a mirror and takes no events: delete it and it is made anew")
	}
	if have.Config.MaxMsgsPerSubject > 0 {
		warn("max_msgs_per_subject is %d, which removes events of a busy mount early: set it to -1", have.Config.MaxMsgsPerSubject)
	}
	if have.Config.MaxMsgs > 0 {
		warn("max_msgs is %d, which removes events early: set it to -1", have.Config.MaxMsgs)
	}
	return append(out, b.checkReplicas(have)...)
}

func (b *Bus) checkReplicas(have *jetstream.StreamInfo) (out []string) {
	if have.Cluster == nil || have.Cluster.Name == "" {
		return nil
	}
	if servers := len(b.nc.Servers()); have.Config.Replicas < 3 && servers >= 3 {
		out = append(out, fmt.Sprintf("nats: stream %s has %d replica on a cluster of %d servers, so that the loss of one stops it: set replicas to 3",
			StreamName, have.Config.Replicas, servers))
	}
	if have.Cluster.Leader == "" {
		out = append(out, fmt.Sprintf("nats: stream %s has no leader: most of its servers are away", StreamName))
	}
	for _, r := range have.Cluster.Replicas {
		if r.Offline || unheard(r) {
			out = append(out, fmt.Sprintf("nats: stream %s: replica on server %s is offline", StreamName, r.Name))
		}
	}
	return out
}

// unheard reports whether the stream's leader has no word of a replica. The
// server calls one offline at once when it was stopped in good order, but for
// one that crashed or was cut off only after minutes. A replica that is merely
// behind answers its leader every second.
func unheard(r *jetstream.PeerInfo) bool {
	never := r.Active == 0 // since this leader was elected
	return !r.Current && (never || r.Active >= silence)
}

// older reports whether a version is before major.minor. One that cannot be
// read is not.
func older(version string, major, minor int) bool {
	parts := strings.SplitN(version, ".", 3)
	if len(parts) < 2 {
		return false
	}
	a, err1 := strconv.Atoi(parts[0])
	b, err2 := strconv.Atoi(parts[1])
	return err1 == nil && err2 == nil && (a < major || a == major && b < minor)
}

// remote reports whether a URL leads to another machine.
func remote(address string) bool {
	u, err := url.Parse(address)
	if err != nil || u.Hostname() == "" {
		return false // in process
	}
	ip := net.ParseIP(u.Hostname())
	return u.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback())
}
