package installation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/curfew-project/curfew/shared/store"
)

// read decodes an entry; found is false where there is none.
func read(ctx context.Context, s store.Entries, key string, into any) (e store.Entry, found bool, err error) {
	e, err = s.Entry(ctx, store.KindSystem, key)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return store.Entry{Kind: store.KindSystem, Key: key}, false, nil
	case err != nil:
		return e, false, fmt.Errorf("read %s: %w", key, err)
	}
	if err := json.Unmarshal(e.Value, into); err != nil {
		return e, false, fmt.Errorf("decode %s: %w", key, err)
	}
	return e, true, nil
}

// all decodes the entries below a prefix.
func all[T any](ctx context.Context, s store.Entries, prefix string) (map[string]T, map[string]store.Entry, error) {
	values, entries := map[string]T{}, map[string]store.Entry{}
	for after := ""; ; {
		page, err := s.List(ctx, store.KindSystem, prefix, after, false, 0)
		if err != nil {
			return nil, nil, fmt.Errorf("list %s: %w", prefix, err)
		}
		for _, e := range page {
			var v T
			if err := json.Unmarshal(e.Value, &v); err != nil {
				return nil, nil, fmt.Errorf("decode %s: %w", e.Key, err)
			}
			values[e.Key[len(prefix):]], entries[e.Key[len(prefix):]] = v, e
			after = e.Key
		}
		if len(page) == 0 {
			return values, entries, nil
		}
	}
}

// encoded is e with another value.
func encoded(e store.Entry, v any) (store.Entry, error) {
	value, err := json.Marshal(v)
	if err != nil {
		return e, fmt.Errorf("encode %s: %w", e.Key, err)
	}
	e.Value = value
	return e, nil
}
