package postgres

// Watch implements [store.Watcher]. Commits of this process are told at once,
// those of others while [Store.Listen] runs.
func (s *Store) Watch() (<-chan struct{}, func()) { return s.watch.Watch() }
