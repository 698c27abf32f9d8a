package format

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// Duration reads d without the zero units that time.Duration prints: "1h"
// instead of "1h0m0s", "1h5s" instead of "1h0m5s".
func Duration(d time.Duration) string {
	text := d.String()
	if trimmed, ok := strings.CutSuffix(text, "m0s"); ok {
		text = trimmed + "m"
	}
	if hours, rest, ok := strings.Cut(text, "h0m"); ok {
		text = hours + "h" + rest
	}
	return text
}

// Seconds reads a whole number of seconds as Duration does.
func Seconds(n int) string { return Duration(time.Duration(n) * time.Second) }

// Value reads the value of the field called name as it stands in a table.
func Value(name string, value any) string {
	if number, ok := value.(json.Number); ok && isDuration(name) {
		if n, err := number.Int64(); err == nil {
			return Duration(time.Duration(n) * time.Second)
		}
	}
	return fmt.Sprint(value)
}

// isDuration reports whether a field's name says that its number is seconds.
func isDuration(name string) bool {
	switch name {
	case "ttl", "period", "duration", "lease_max", "ttl_max":
		return true
	}
	return strings.HasSuffix(name, "_ttl") ||
		strings.HasSuffix(name, "_period") ||
		strings.HasSuffix(name, "_duration")
}
