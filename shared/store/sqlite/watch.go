package sqlite

// Watch implements [store.Watcher].
func (s *Store) Watch() (<-chan struct{}, func()) { return s.watch.Watch() }
