package quota

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/step"
	"github.com/curfew-project/curfew/shared/store"
)

const (
	// settingsKey is the entry of the settings. It is edited with every change of
	// a rate, too, so that its revision says whether there is something to read.
	settingsKey = "quotas"
	askEvery    = 500 * time.Millisecond
)

// settings are those of sys/quotas/config.
type settings struct {
	// Exempt are paths that no rate is for; one that ends in "*" is a prefix.
	Exempt []string `json:"exempt,omitempty"`
	// Headers: also answers that are not refused say how much is left.
	Headers bool `json:"headers,omitempty"`
}

func (s *settings) exempt(path string) bool {
	return slices.ContainsFunc(s.Exempt, func(e string) bool {
		prefix, cut := strings.CutSuffix(e, "*")
		return path == e || cut && strings.HasPrefix(path, prefix)
	})
}

// Limiter counts requests against the rates in force. It is the step that sees
// what others have changed.
type Limiter struct {
	store store.Entries
	clock clock.Clock
	log   zerolog.Logger

	reading sync.Mutex // one reads at a time

	mu       sync.RWMutex
	known    bool
	revision int64 // of the settings' entry, when the rules were read
	settings settings
	rules    []*rule // the longest path first
}

// NewLimiter returns a limiter that knows no quotas before its first step.
func NewLimiter(s store.Entries, c clock.Clock, log zerolog.Logger) *Limiter {
	return &Limiter{store: s, clock: c, log: log}
}

// Name implements [step.Step].
func (*Limiter) Name() string { return "rate quotas" }

// Do implements [step.Step].
func (l *Limiter) Do(ctx context.Context) (time.Duration, error) { return askEvery, l.refresh(ctx) }

// Take counts a request for path from address.
func (l *Limiter) Take(path, address string) (v Verdict, headers bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.settings.exempt(path) {
		return Verdict{Allowed: true}, false
	}
	for _, r := range l.rules {
		if r.covers(path) {
			return r.take(address, l.clock.Now()), l.settings.Headers
		}
	}
	return Verdict{Allowed: true}, false
}

// refresh reads the rules anew where they may have changed.
func (l *Limiter) refresh(ctx context.Context) error {
	l.reading.Lock()
	defer l.reading.Unlock()
	s, e, err := readSettings(ctx, l.store)
	if err != nil {
		return err
	}
	l.mu.RLock()
	old, fresh := l.rules, l.known && l.revision == e.Revision
	l.mu.RUnlock()
	if fresh {
		return nil
	}
	// What is read now is of this revision or of a later one, which is read again.
	rules, err := l.read(ctx, old)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.known, l.revision, l.settings, l.rules = true, e.Revision, s, rules
	return nil
}

func (l *Limiter) read(ctx context.Context, old []*rule) (rules []*rule, err error) {
	all, err := l.store.List(ctx, store.KindRateQuota, "", "", false, maxQuotas+1)
	if err != nil {
		return nil, fmt.Errorf("read rate limits: %w", err)
	}
	for i := range all {
		r, err := newRule(&all[i])
		if err != nil {
			l.log.Error().Err(err).Msg("a rate limit cannot be read: it limits nothing")
			continue
		}
		if at := slices.IndexFunc(old, r.same); at >= 0 {
			r = old[at]
		}
		rules = append(rules, r)
	}
	slices.SortStableFunc(rules, func(a, b *rule) int { return len(b.path) - len(a.path) })
	return rules, nil
}

func readSettings(ctx context.Context, s store.Entries) (set settings, e store.Entry, err error) {
	e, err = s.Entry(ctx, store.KindSystem, settingsKey)
	if errors.Is(err, store.ErrNotFound) {
		return set, store.Entry{Kind: store.KindSystem, Key: settingsKey, Value: []byte("{}")}, nil
	}
	if err == nil {
		err = json.Unmarshal(e.Value, &set)
	}
	if err != nil {
		return set, e, fmt.Errorf("read the settings of quotas: %w", err)
	}
	return set, e, nil
}

var _ step.Step = (*Limiter)(nil)
