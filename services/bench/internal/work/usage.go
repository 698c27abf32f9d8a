package work

import (
	"context"
	"sync"
	"time"

	"github.com/curfew-project/curfew/services/bench/internal/measure"
)

// usage is processor time.
type usage struct{ server, target, load time.Duration }

func (b *Bench) usage() usage {
	return usage{measure.CPU(b.site.Servers()...), measure.CPU(b.site.Targets()...), measure.Own()}
}

// watched runs work and returns what was used meanwhile. Where profiles are asked
// for, it takes them under the label: of the processor for as long as the work is
// expected to take, of memory at its end.
func (b *Bench) watched(ctx context.Context, label string, expected time.Duration, work func()) usage {
	var profile sync.WaitGroup
	if b.cfg.Profiles != "" {
		profile.Go(func() {
			if err := b.site.Profile(ctx, b.cfg.Profiles, label, "profile", max(1, int(expected.Seconds()))); err != nil {
				b.say("%s: %v", label, err)
			}
		})
	}
	before := b.usage()
	work()
	after := b.usage()
	profile.Wait()
	if b.cfg.Profiles != "" {
		if err := b.site.Profile(ctx, b.cfg.Profiles, label, "heap", 0); err != nil {
			b.say("%s: %v", label, err)
		}
	}
	return usage{after.server - before.server, after.target - before.target, after.load - before.load}
}

func micro(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
