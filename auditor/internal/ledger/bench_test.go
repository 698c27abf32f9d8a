package ledger

import (
	"bytes"
	"fmt"
	"testing"
)

// event600 is of the size of an ordinary event.
func event600() []byte { return bytes.Repeat([]byte("e"), 600) }

func BenchmarkAppend(b *testing.B) {
	for _, batch := range []int{1, 16, 256, 4096} {
		b.Run(fmt.Sprintf("batch=%d", batch), func(b *testing.B) {
			l, err := Open(b.Context(), Config{Dir: b.TempDir(), Installation: "bench"})
			if err != nil {
				b.Fatal(err)
			}
			entries := make([][]byte, batch)
			for i := range entries {
				entries[i] = event600()
			}
			next := int64(1)
			for b.Loop() {
				last, err := l.Append(b.Context(), 1, next, entries)
				if err != nil {
					b.Fatal(err)
				}
				next = last + 1
			}
			b.ReportMetric(float64(next-1)/b.Elapsed().Seconds(), "entries/s")
			mustClose(b, l)
		})
	}
}

func BenchmarkVerify(b *testing.B) {
	const size = 64 * batchSize
	l, err := Open(b.Context(), Config{Dir: b.TempDir(), Installation: "bench"})
	if err != nil {
		b.Fatal(err)
	}
	entries := make([][]byte, size)
	for i := range entries {
		entries[i] = event600()
	}
	if _, err := l.Append(b.Context(), 1, 1, entries); err != nil {
		b.Fatal(err)
	}
	mustClose(b, l)
	rounds := 0
	for b.Loop() {
		report, err := Verify(b.Context(), l.cfg.Dir, l.Key())
		if err != nil || report.Err() != nil {
			b.Fatal(err, report.Err())
		}
		rounds++
	}
	b.ReportMetric(float64(size*rounds)/b.Elapsed().Seconds(), "entries/s")
}
