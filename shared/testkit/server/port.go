package server

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
)

// Ports are taken below the ranges from which systems choose ports for
// outgoing connections (Linux 32768 and up, others 49152 and up): a client
// that tries again and again while its server is down could otherwise be given
// the server's port and connect to itself.
const (
	firstPort = 20000
	lastPort  = 31999
	portTries = 1000
)

// Port is a TCP port on 127.0.0.1 that is ours until Close, whether or not
// something listens on it. Our servers speak TCP only, so the UDP port of the
// same number serves as the mark that the number is taken; the system gives it
// back when the process ends in whatever way.
type Port struct {
	Number int
	mark   net.PacketConn
}

// TakePort finds a free port.
func TakePort() (*Port, error) {
	for range portTries {
		number := firstPort + rand.IntN(lastPort-firstPort+1)
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(number))
		mark, err := net.ListenPacket("udp4", addr)
		if err != nil {
			continue
		}
		probe, err := net.Listen("tcp4", addr)
		if err == nil {
			err = probe.Close()
		}
		if err == nil {
			return &Port{Number: number, mark: mark}, nil
		}
		if err := mark.Close(); err != nil {
			return nil, fmt.Errorf("give back port %d: %w", number, err)
		}
	}
	return nil, errors.New("find a free loopback port: none in 1000 tries")
}

// Address is the port's host:port.
func (p *Port) Address() string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(p.Number))
}

// Close gives the port back.
func (p *Port) Close() error { return p.mark.Close() }
