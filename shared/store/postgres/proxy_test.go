//go:build integration

package postgres_test

import (
	"bytes"
	"net"
	"strconv"
	"sync"
	"testing"
)

// proxy leads to a server and cuts connections as told.
type proxy struct {
	listener net.Listener
	server   string

	mu    sync.Mutex
	cut   func(sent []byte) cut
	cuts  int
	conns map[net.Conn]struct{}
	letGo chan struct{}
	late  sync.WaitGroup // what was let go and is not done
	wg    sync.WaitGroup
}

// cut says what becomes of a connection when the client has sent something.
type cut int

const (
	pass        cut = iota
	beforehand      // it does not reach the server
	afterwards      // it does; the answer does not reach the client
	onceApplied     // it does, and the server has answered; the client does not hear of it
	muchLater       // it does when the proxy is told to let go
)

func newProxy(tb testing.TB, server string) *proxy {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	p := &proxy{listener: l, server: server, conns: map[net.Conn]struct{}{}, letGo: make(chan struct{})}
	p.wg.Go(p.accept)
	tb.Cleanup(func() {
		_ = l.Close()
		p.dropAll()
		p.wg.Wait()
	})
	return p
}

func (p *proxy) port() int { return p.listener.Addr().(*net.TCPAddr).Port }

// lead makes new connections go to another server, and ends the others.
func (p *proxy) lead(server string) {
	p.mu.Lock()
	p.server = server
	p.mu.Unlock()
	p.dropAll()
}

// when sets what is done with what clients send.
func (p *proxy) when(f func([]byte) cut) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = f
}

func (p *proxy) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cuts
}

func (p *proxy) dropAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.Close()
	}
}

func (p *proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		address := p.server
		p.conns[client] = struct{}{}
		p.mu.Unlock()
		p.wg.Go(func() {
			defer func() {
				_ = client.Close()
				p.mu.Lock()
				delete(p.conns, client)
				p.mu.Unlock()
			}()
			p.serve(client, address)
		})
	}
}

func (p *proxy) serve(client net.Conn, address string) {
	server, err := net.Dial("tcp", address)
	if err != nil {
		return
	}
	defer func() { _ = server.Close() }()
	done := make(chan struct{})
	var mute sync.Mutex // held: the client hears nothing
	p.wg.Go(func() {
		defer close(done)
		defer func() { _ = client.Close() }()
		buffer := make([]byte, 1<<16)
		for {
			n, err := server.Read(buffer)
			if err != nil {
				return
			}
			mute.Lock()
			_, _ = client.Write(buffer[:n]) // the server is heard to its end
			mute.Unlock()
		}
	})
	buffer := make([]byte, 1<<16)
	for {
		n, err := client.Read(buffer)
		if err != nil {
			return
		}
		switch p.judge(buffer[:n]) {
		case beforehand:
			return
		case afterwards:
			_, _ = server.Write(buffer[:n])
			return
		case muchLater:
			defer p.late.Done()
			_ = client.Close()
			<-p.letGo
			_, _ = server.Write(buffer[:n])
			_ = server.(*net.TCPConn).CloseWrite()
			<-done
			return
		case onceApplied:
			mute.Lock()
			_, _ = server.Write(buffer[:n])
			_ = client.Close()
			mute.Unlock()
			// The server is left alone to finish: its end is not closed before it
			// has read all and answered.
			_ = server.(*net.TCPConn).CloseWrite()
			<-done
			return
		case pass:
		}
		if _, err := server.Write(buffer[:n]); err != nil {
			return
		}
	}
}

func (p *proxy) judge(sent []byte) cut {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cut == nil {
		return pass
	}
	c := p.cut(sent)
	if c != pass {
		p.cuts++
	}
	if c == muchLater {
		p.late.Add(1)
	}
	return c
}

// commits reports whether a client sent a COMMIT, by its text: statements go by
// it in the mode of poolers.
func commits(sent []byte) bool { return bytes.Contains(sent, []byte("COMMIT")) }

func address(host string, port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }
