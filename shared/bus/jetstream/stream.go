package jetstream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/curfew-project/curfew/shared/event"
)

const (
	// StreamName is the one stream.
	StreamName = "CURFEW_EVENTS"
	// duplicates is the window within which an event sent again is stored once.
	// The publisher sends again at once what was not acknowledged within 3 s, or as
	// soon as another server leads, after some 10 s. Each id costs the server memory:
	// in two minutes of a drain there are a million.
	duplicates = 15 * time.Second
	// leastAge is for consumers that were away for a moment.
	leastAge = 4 * time.Minute
)

// fit returns what the stream's settings should be: those of cfg over what is
// there. Settings that Curfew has no opinion on, such as placement and
// compression, stay as the operators made them.
func (c *Config) fit(have jetstream.StreamConfig) jetstream.StreamConfig {
	have.Name = StreamName
	have.Description = "Curfew lease events; a copy, the store is the truth"
	have.Subjects = []string{event.SubjectPrefix + ".>"}
	have.Retention = jetstream.LimitsPolicy
	have.Discard = jetstream.DiscardOld
	have.Storage = jetstream.FileStorage
	have.MaxAge = c.MaxAge
	have.MaxBytes = c.MaxBytes
	have.Replicas = c.Replicas
	have.Duplicates = duplicates
	return have
}

// differences names the settings in which the stream is not as it should be.
func differences(have, want jetstream.StreamConfig) []string {
	var out []string
	note := func(name string, have, want any) {
		out = append(out, fmt.Sprintf("%s is %v, want %v", name, have, want))
	}
	if !slices.Equal(have.Subjects, want.Subjects) {
		note("subjects", have.Subjects, want.Subjects)
	}
	if have.Retention != want.Retention {
		note("retention", have.Retention, want.Retention)
	}
	if have.Discard != want.Discard {
		note("discard", have.Discard, want.Discard)
	}
	if have.Storage != want.Storage {
		note("storage", have.Storage, want.Storage)
	}
	if have.MaxAge != want.MaxAge {
		note("max_age", have.MaxAge, want.MaxAge)
	}
	if have.MaxBytes != want.MaxBytes {
		note("max_bytes", have.MaxBytes, want.MaxBytes)
	}
	if have.Replicas != want.Replicas {
		note("num_replicas", have.Replicas, want.Replicas)
	}
	if have.Duplicates != want.Duplicates {
		note("duplicate_window", have.Duplicates, want.Duplicates)
	}
	return out
}

// ensureStream makes the stream if it is missing. With update it brings one
// that is there to its settings: only who publishes may, since programs whose
// configurations differ would otherwise undo each other's changes.
//
// What the server does not let us do to a stream that is there is no error: it
// carries events as it is, and Check says what to change.
func (b *Bus) ensureStream(ctx context.Context, update bool) error {
	have, err := b.streamInfo(ctx)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		err = b.ask(ctx, "STREAM.CREATE."+StreamName, func(ctx context.Context) error {
			_, err := b.js.CreateStream(ctx, b.cfg.fit(jetstream.StreamConfig{}))
			return err
		})
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			err = nil // another process was faster, with settings of its own
		}
		if err != nil {
			err = fmt.Errorf("make stream %s: %w", StreamName, err)
		}
		b.note(err)
		return err
	case errors.Is(err, ErrDenied):
		b.note(err)
		return nil // publishing shows whether it is there
	case err != nil:
		err = fmt.Errorf("look at stream %s: %w", StreamName, err)
		b.note(err)
		return err
	}
	want := b.cfg.fit(have.Config)
	if !update || len(differences(have.Config, want)) == 0 {
		b.note(nil)
		return nil
	}
	err = b.ask(ctx, "STREAM.UPDATE."+StreamName, func(ctx context.Context) error {
		_, err := b.js.UpdateStream(ctx, want)
		return err
	})
	if err != nil {
		err = fmt.Errorf("change stream %s: %w", StreamName, err)
	}
	b.note(err)
	return nil
}

func (b *Bus) streamInfo(ctx context.Context) (info *jetstream.StreamInfo, err error) {
	err = b.ask(ctx, "STREAM.INFO."+StreamName, func(ctx context.Context) error {
		s, err := b.js.Stream(ctx, StreamName)
		if err == nil {
			info = s.CachedInfo()
		}
		return err
	})
	return info, err
}

// note keeps the outcome of a look at the stream for Check.
func (b *Bus) note(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.problem = err
}
