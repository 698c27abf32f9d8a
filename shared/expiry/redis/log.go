package redis

import (
	"context"
	"fmt"

	goredis "github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"
)

// LogTo sends what the client library says by itself to log, at debug level:
// what matters of it the index returns as errors. It holds for the process and
// is called once, in main, before the first [New]; otherwise the library writes
// to standard error, a line for each failed connection.
func LogTo(log zerolog.Logger) { goredis.SetLogger(library{log}) }

type library struct{ log zerolog.Logger }

// Printf is the library's.
func (l library) Printf(_ context.Context, format string, v ...any) {
	if e := l.log.Debug(); e.Enabled() {
		e.Str("detail", fmt.Sprintf(format, v...)).Msg("redis client")
	}
}
