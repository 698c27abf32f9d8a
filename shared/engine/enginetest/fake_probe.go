package enginetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// errRefused is the answer of a target that lets nobody in.
var errRefused = errors.New("password authentication failed")

// Probe looks at one target of the fake past the engine.
func (f *Fake) Probe(target string) *Probe { return &Probe{f, target} }

// Probe is the [Target] of a [Fake].
type Probe struct {
	fake   *Fake
	target string
}

// Now implements [Target].
func (p *Probe) Now(context.Context) (time.Time, error) { return p.fake.cfg.Clock.Now(), nil }

// Login implements [Target].
func (p *Probe) Login(_ context.Context, name, password string) error {
	p.fake.mu.Lock()
	defer p.fake.mu.Unlock()
	_, err := p.login(name, password)
	return err
}

func (p *Probe) login(name, password string) (*fakeAccount, error) {
	a, ok := p.account(name)
	now := p.fake.cfg.Clock.Now()
	if !ok || !a.login || a.password != password || !a.until.IsZero() && !now.Before(a.until) {
		return nil, errRefused
	}
	return a, nil
}

func (p *Probe) account(name string) (*fakeAccount, bool) {
	t, ok := p.fake.targets[p.target]
	if !ok {
		return nil, false
	}
	a, ok := t.accounts[name]
	return a, ok
}

// Session implements [Target].
func (p *Probe) Session(_ context.Context, name, password string) (Session, error) {
	p.fake.mu.Lock()
	defer p.fake.mu.Unlock()
	a, err := p.login(name, password)
	if err != nil {
		return nil, err
	}
	s := &fakeSession{p.fake, a}
	a.sessions[s] = struct{}{}
	return s, nil
}

type fakeSession struct {
	fake    *Fake
	account *fakeAccount
}

// Alive implements [Session].
func (s *fakeSession) Alive(context.Context) bool {
	s.fake.mu.Lock()
	defer s.fake.mu.Unlock()
	_, ok := s.account.sessions[s]
	return ok
}

// Close implements [Session].
func (s *fakeSession) Close() {
	s.fake.mu.Lock()
	defer s.fake.mu.Unlock()
	delete(s.account.sessions, s)
}

// Exists implements [Target].
func (p *Probe) Exists(_ context.Context, name string) (bool, error) {
	p.fake.mu.Lock()
	defer p.fake.mu.Unlock()
	_, ok := p.account(name)
	return ok, nil
}

// Names lists every account of the target, in order.
func (p *Probe) Names() []string {
	p.fake.mu.Lock()
	defer p.fake.mu.Unlock()
	var out []string
	if t, ok := p.fake.targets[p.target]; ok {
		for name := range t.accounts {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// Expiry implements [Target].
func (p *Probe) Expiry(_ context.Context, name string) (time.Time, error) {
	p.fake.mu.Lock()
	defer p.fake.mu.Unlock()
	a, ok := p.account(name)
	if !ok {
		return time.Time{}, fmt.Errorf("no account %s", name)
	}
	return a.until, nil
}

// Foreign implements [Target].
func (p *Probe) Foreign(context.Context) (string, error) {
	return p.Add("v-somebody-else", false)
}

// Add makes an account past the engine: with its mark (a stray, until a lease
// stands for it) or without.
func (p *Probe) Add(name string, ours bool) (string, error) {
	p.fake.mu.Lock()
	defer p.fake.mu.Unlock()
	t, ok := p.fake.targets[p.target]
	if !ok {
		return "", fmt.Errorf("no target %s", p.target)
	}
	p.fake.serial++
	t.accounts[name] = &fakeAccount{
		id: p.fake.serial, ours: ours, login: true, made: p.fake.cfg.Clock.Now(), sessions: map[*fakeSession]struct{}{},
	}
	return name, nil
}

// Mark implements [Marked].
func (p *Probe) Mark(context.Context) (string, error) {
	p.fake.mu.Lock()
	defer p.fake.mu.Unlock()
	t, ok := p.fake.targets[p.target]
	if !ok {
		return "", fmt.Errorf("no target %s", p.target)
	}
	return t.mark, nil
}

// Remark puts another mark into the target past the engine, as a copy of the
// installation does, or one who restores the target; "" takes it away.
func (p *Probe) Remark(mark string) {
	p.fake.mu.Lock()
	defer p.fake.mu.Unlock()
	if t, ok := p.fake.targets[p.target]; ok {
		t.mark = mark
	}
}

// LoseAnswer implements [Target].
func (p *Probe) LoseAnswer() {
	p.fake.Inject(Fault{Method: MethodCreate, After: true, Times: 1})
}

// Ended lists the mounts that Disabled was called for.
func (f *Fake) Ended() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.ended)
}

var (
	_ Target = (*Probe)(nil)
	_ Marked = (*Probe)(nil)
)
