package postgres

import "sync"

// together runs acts side by side and returns when all have ended.
func together(acts ...func()) {
	var wg sync.WaitGroup
	for _, act := range acts {
		wg.Go(act)
	}
	wg.Wait()
}
