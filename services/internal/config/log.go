package config

import (
	"io"

	"github.com/rs/zerolog"
)

// Logger is the one log of a program, which writes to w.
func (l Log) Logger(w io.Writer) zerolog.Logger {
	level, err := zerolog.ParseLevel(l.Level)
	if err != nil {
		level = zerolog.InfoLevel // Finish has checked it
	}
	if l.Format == "text" {
		w = zerolog.ConsoleWriter{Out: w, NoColor: true, TimeFormat: "15:04:05.000"}
	}
	return zerolog.New(w).Level(level).With().Timestamp().Logger()
}
