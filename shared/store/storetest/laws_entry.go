package storetest

import (
	"errors"
	"time"

	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/store"
)

func entryLaws() []law {
	return []law{
		{"entries: made, read, edited by revision, deleted", lawEntry},
		{"entries: a key has one incarnation that is not withdrawn", lawIncarnations},
		{"entries: a write is one commit or nothing", lawAtomicWrite},
		{"entries: lists are ordered, by prefix, in complete pages", lawList},
	}
}

func (s *subject) write(t T, w store.Write) ([]store.Entry, error) {
	t.Helper()
	return s.Write(t.Context(), w)
}

func lawEntry(t T, s *subject) {
	e := s.put(t, store.KindRole, "m/r")
	if e.ID == "" || e.Revision != 1 || e.Withdrawn || !e.ChangedAt.Equal(s.clock.Now()) || string(e.Value) != `{"v":1}` {
		t.Errorf("made is %+v", e)
	}
	s.clock.Advance(time.Second)
	put, err := s.write(t, store.Write{Puts: []store.Entry{{Kind: e.Kind, Key: e.Key, Revision: 1, Value: []byte("2")}}})
	if err != nil || put[0].ID != e.ID || put[0].Revision != 2 || string(put[0].Value) != "2" || !put[0].ChangedAt.Equal(s.clock.Now()) {
		t.Fatalf("edited is %+v, %v", put, err)
	}
	byKey, err1 := s.Entry(t.Context(), e.Kind, e.Key)
	byID, err2 := s.EntryByID(t.Context(), e.Kind, e.ID)
	if err := errors.Join(err1, err2); err != nil || !same(byKey, put[0]) || !same(byID, put[0]) {
		t.Errorf("by key %+v, by id %+v, %v; want %+v", byKey, byID, err, put[0])
	}
	for _, revision := range []int64{1, 3} {
		bad := store.Entry{Kind: e.Kind, Key: e.Key, Revision: revision, Value: []byte("3")}
		if _, err := s.write(t, store.Write{Puts: []store.Entry{bad}}); !errors.Is(err, store.ErrRevision) {
			t.Errorf("an edit of revision %d at 2: %v, want ErrRevision", revision, err)
		}
	}
	for _, missing := range []store.Entry{{Kind: e.Kind, Key: "m/other", Revision: 2}, {Kind: store.KindMount, Key: e.Key, Revision: 2}} {
		if _, err := s.write(t, store.Write{Puts: []store.Entry{missing}}); !errors.Is(err, store.ErrRevision) {
			t.Errorf("an edit of nothing: %v, want ErrRevision", err)
		}
		if _, err := s.Entry(t.Context(), missing.Kind, missing.Key); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("Entry: %v, want ErrNotFound", err)
		}
	}
	if _, err := s.write(t, store.Write{Puts: []store.Entry{{Kind: e.Kind, Key: e.Key}}}); !errors.Is(err, store.ErrExists) {
		t.Errorf("a second entry of the key: %v, want ErrExists", err)
	}
	if _, err := s.write(t, store.Write{Deletes: []store.Ref{ref(e), {Kind: e.Kind, ID: "unknown"}}}); err != nil {
		t.Errorf("delete: %v", err)
	}
	if _, err := s.EntryByID(t.Context(), e.Kind, e.ID); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("deleted: %v, want ErrNotFound", err)
	}
	given := store.Entry{Kind: e.Kind, Key: "m/given", ID: store.NewIncarnation()}
	put, err = s.write(t, store.Write{Puts: []store.Entry{given}})
	if err != nil || put[0].ID != given.ID {
		t.Errorf("an entry with an id: %+v, %v", put, err)
	}
	given.Key = "m/other"
	if _, err := s.write(t, store.Write{Puts: []store.Entry{given}}); !errors.Is(err, store.ErrExists) {
		t.Errorf("another entry with the id: %v, want ErrExists", err)
	}
}

func lawIncarnations(t T, s *subject) {
	old := s.put(t, store.KindConnection, "m/pg")
	s.withdraw(t, old)
	if _, err := s.Entry(t.Context(), old.Kind, old.Key); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a withdrawn entry by its key: %v, want ErrNotFound", err)
	}
	hidden, err := s.EntryByID(t.Context(), old.Kind, old.ID)
	if err != nil || !hidden.Withdrawn || string(hidden.Value) != string(old.Value) || hidden.Revision != 2 {
		t.Errorf("a withdrawn entry by its id: %+v, %v", hidden, err)
	}
	if _, err := s.write(t, store.Write{Withdrawals: []store.Ref{ref(old)}}); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a second withdrawal: %v, want ErrNotFound", err)
	}
	// Withdraw and make anew in one commit.
	second := s.put(t, store.KindConnection, "m/pg")
	put, err := s.write(t, store.Write{Withdrawals: []store.Ref{ref(second)}, Puts: []store.Entry{{Kind: second.Kind, Key: second.Key}}})
	if err != nil || put[0].ID == second.ID || second.ID == old.ID || put[0].Revision != 1 {
		t.Fatalf("anew: %+v, %v", put, err)
	}
	edit := store.Entry{Kind: old.Kind, Key: old.Key, ID: old.ID, Revision: 2, Value: []byte("late")}
	if put, err := s.write(t, store.Write{Puts: []store.Entry{edit}}); err != nil || !put[0].Withdrawn {
		t.Errorf("an edit of a withdrawn incarnation: %+v, %v", put, err)
	}
	edit.Key, edit.Revision = "m/renamed", 3
	if _, err := s.write(t, store.Write{Puts: []store.Entry{edit}}); !errors.Is(err, store.ErrRevision) {
		t.Errorf("an edit under another key: %v, want ErrRevision", err)
	}
	if now, err := s.Entry(t.Context(), old.Kind, old.Key); err != nil || now.ID != put[0].ID {
		t.Errorf("the key's entry is %+v, %v", now, err)
	}
	all, err := s.List(t.Context(), old.Kind, "", "", true, 1)
	if err != nil || len(all) != 2 {
		t.Errorf("a page of withdrawn entries cuts a key: %d, %v", len(all), err)
	}
}

func lawAtomicWrite(t T, s *subject) {
	kept, taken := s.put(t, store.KindRole, "m/kept"), s.put(t, store.KindRole, "m/taken")
	note := event.Event{Type: event.ConfigChanged}
	for name, w := range map[string]store.Write{
		"exists":   {Puts: []store.Entry{{Kind: store.KindRole, Key: "m/new"}, {Kind: store.KindRole, Key: taken.Key}}},
		"revision": {Puts: []store.Entry{{Kind: store.KindRole, Key: "m/new"}, {Kind: store.KindRole, Key: taken.Key, Revision: 9}}},
		"missing":  {Withdrawals: []store.Ref{ref(taken), {Kind: store.KindRole, ID: "unknown"}}},
		"deleted":  {Deletes: []store.Ref{ref(kept)}, Withdrawals: []store.Ref{ref(kept)}},
	} {
		w.Events = []event.Event{note}
		w.Deletes = append(w.Deletes, ref(kept))
		if _, err := s.write(t, w); err == nil {
			t.Errorf("%s: was written", name)
		}
	}
	all, err := s.List(t.Context(), store.KindRole, "", "", false, 0)
	if err != nil || !same(all, []store.Entry{kept, taken}) {
		t.Errorf("left is %s, %v; want both as they were", text(all), err)
	}
	if n, err := s.Backlog(t.Context()); err != nil || n != 0 {
		t.Errorf("left are %d events, %v", n, err)
	}
	s.clock.Advance(time.Second)
	w := store.Write{
		Puts:        []store.Entry{{Kind: store.KindRole, Key: "m/new"}},
		Withdrawals: []store.Ref{ref(taken)}, Deletes: []store.Ref{ref(kept)}, Events: []event.Event{note, note},
	}
	if put, err := s.write(t, w); err != nil || len(put) != 1 {
		t.Errorf("a good write: %+v, %v", put, err)
	}
	if events := s.numberAll(t); len(events) != 2 || !events[1].Time.Equal(s.clock.Now()) {
		t.Errorf("its events are %s", text(events))
	}
}

func lawList(t T, s *subject) {
	keys := []string{"a/x", "a/y", "a/z", "a0", "b/x"}
	for _, k := range []int{3, 0, 4, 2, 1} {
		s.put(t, store.KindRole, keys[k])
	}
	s.put(t, store.KindMount, "a/x")
	s.withdraw(t, s.put(t, store.KindRole, "a/gone"))
	for prefix, want := range map[string][]string{"": keys, "a/": keys[:3], "a": keys[:4], "c": {}, "a/x": keys[:1]} {
		for _, limit := range []int{1, 2, 0} {
			got := []string{}
			for after := ""; ; after = got[len(got)-1] {
				page, err := s.List(t.Context(), store.KindRole, prefix, after, false, limit)
				if err != nil || limit > 0 && len(page) > limit {
					t.Fatalf("List %q after %q: %d entries, %v", prefix, after, len(page), err)
				}
				if len(page) == 0 || len(got) > len(keys) {
					break
				}
				for _, e := range page {
					got = append(got, e.Key)
				}
			}
			if !same(got, want) {
				t.Errorf("keys below %q in pages of %d: %v, want %v", prefix, limit, got, want)
			}
		}
	}
	hidden, err := s.List(t.Context(), store.KindRole, "", "", true, 0)
	if err != nil || len(hidden) != 1 || hidden[0].Key != "a/gone" {
		t.Errorf("withdrawn are %+v, %v", hidden, err)
	}
}
