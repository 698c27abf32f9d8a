package monitor

import (
	"net/http"
	"net/http/pprof" // what it adds to the default mux is served nowhere
)

// profiles adds the paths that `go tool pprof` and `go tool trace` read. They
// show where time and memory go, by the names of functions, and no content of
// memory. The command line is left out: nobody reads it from here.
func profiles(mux *http.ServeMux) {
	mux.HandleFunc("GET /debug/pprof/", pprof.Index) // and heap, allocs, goroutine, mutex, block
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
}
