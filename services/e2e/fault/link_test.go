//go:build e2e

package fault

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/curfew-project/curfew/services/internal/topology"
	"github.com/curfew-project/curfew/shared/testkit"
)

// network is what lies between the processes of a fleet: a proxy for each program
// and each server that it is told of, one for clients and each issuer, and one
// for the target and each kind of program.
type network struct {
	tb     testing.TB
	mu     sync.Mutex
	links  map[string][]*testkit.Proxy // by pair: "issuer–store"
	fronts []string                    // URLs of the issuers, as clients reach them
	next   atomic.Int64
}

// through is the option of a fleet with a network between its processes.
func (n *network) through(cfg *topology.Config) { cfg.Via = n.via }

func (n *network) via(program, server, address string) string {
	p := testkit.NewProxy(n.tb, address)
	n.mu.Lock()
	defer n.mu.Unlock()
	if program == topology.Proxy {
		// Clients talk to the issuers without a load balancer between them.
		n.fronts = append(n.fronts, "http://"+p.Address())
		n.links["client–issuer"] = append(n.links["client–issuer"], p)
		return address
	}
	of, _, _ := strings.Cut(program, "-")
	to, _, _ := strings.Cut(server, "-")
	switch to {
	case topology.Index:
		to = "Redis"
	case "nats":
		to = "NATS"
	}
	pair := of + "–" + to
	n.links[pair] = append(n.links[pair], p)
	return p.Address()
}

// front is the URL of an issuer, of each in turn.
func (n *network) front() string { return n.fronts[int(n.next.Add(1))%len(n.fronts)] }

// links are the proxies of one pair.
type links []*testkit.Proxy

func (n *network) of(pair string) links {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.links[pair]
}

func (l links) each(do func(*testkit.Proxy)) {
	for _, p := range l {
		do(p)
	}
}

// bites is what toxics did to a pair so far.
func (l links) bites() (sum testkit.Bites) {
	l.each(func(p *testkit.Proxy) {
		b := p.Bites()
		sum.Delayed += b.Delayed
		sum.Dropped += b.Dropped
		sum.Cut += b.Cut
		sum.Held += b.Held
	})
	return sum
}

// lay puts the network between the fleet's programs and the target too, which
// each of them knows by the same address: a program's name is in the first
// message of its connection.
func (n *network) lay(t *testing.T, w *world) {
	t.Helper()
	address := net.JoinHostPort(w.target.Host(), strconv.Itoa(w.target.Port()))
	for _, program := range []string{"issuer", "revoker"} {
		n.links[program+"–target"] = []*testkit.Proxy{testkit.NewProxy(t, address)}
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	must(t, err, "listen for the target's clients")
	var all sync.WaitGroup
	ctx, cancel := context.WithCancel(lasting())
	t.Cleanup(func() {
		_ = l.Close()
		cancel()
		all.Wait()
	})
	all.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer context.AfterFunc(ctx, func() { _ = client.Close() })()
				if err := n.fork(client); err != nil {
					t.Errorf("a client of the target: %v", err)
				}
			})
		}
	})
	w.target.address = l.Addr().String()
	w.mend(t) // that writes the connection
}

// fork passes a client of the target on by the link of its program.
func (n *network) fork(client net.Conn) error {
	defer func() { _ = client.Close() }()
	first, program, err := startup(client)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) {
		return nil // it has gone
	}
	if err != nil {
		return err
	}
	link := n.of(program + "–target")
	if program == "" { // a cancellation does not say whose it is: it takes the way that is worse
		for _, program := range []string{"issuer", "revoker"} {
			if link = n.of(program + "–target"); link[0].Poisoned() {
				break
			}
		}
	}
	if len(link) == 0 {
		return fmt.Errorf("nobody knows the program %q", program)
	}
	server, err := net.Dial("tcp4", link[0].Address())
	if err != nil {
		return err
	}
	defer func() { _ = server.Close() }()
	var back sync.WaitGroup
	back.Go(func() {
		_, _ = io.Copy(client, server) // either side may go at any time
		_ = client.Close()
	})
	if _, err := server.Write(first); err == nil {
		_, _ = io.Copy(server, client)
	}
	_ = server.Close()
	back.Wait()
	return nil
}

// cancelRequest is the code of a message that cancels what another connection does.
const cancelRequest = 80877102

// startup reads the first message of a client of Postgres, and which program of
// Curfew's it says it is; none in a cancellation.
func startup(client io.Reader) (message []byte, program string, err error) {
	const longest = 1 << 14
	message = make([]byte, 4, 256)
	if _, err = io.ReadFull(client, message); err != nil {
		return message, "", err
	}
	size := binary.BigEndian.Uint32(message)
	if size < 8 || size > longest {
		return message, "", fmt.Errorf("its first message has %d bytes", size)
	}
	message = append(message, make([]byte, size-4)...)
	if _, err = io.ReadFull(client, message[4:]); err != nil {
		return message, "", err
	}
	if binary.BigEndian.Uint32(message[4:]) == cancelRequest {
		return message, "", nil
	}
	_, rest, _ := bytes.Cut(message[8:], []byte("application_name\x00curfew/"))
	name, _, _ := bytes.Cut(rest, []byte{0})
	if len(name) == 0 {
		return message, "", errors.New("it does not say which program it is")
	}
	return message, string(name), nil
}
