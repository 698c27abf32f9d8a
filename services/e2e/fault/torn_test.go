//go:build e2e

package fault

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/curfew-project/curfew/services/internal/faults"
)

const (
	// tears are how often a write is torn, fewTears where not all is asked for.
	tears    = 50
	fewTears = 2
	// tornCheckEvery is how many there are between two checks.
	tornCheckEvery = 10
)

// TestTornWrite ends the server of one machine in the middle of its writes, as a
// power cut does, and leaves behind the last commit of its store what the disk may
// have of the next one: some frames of it, the last of them or one in their midst
// half written. Nothing of that was answered, since the commit was not synced; all
// before it is there (A6).
func TestTornWrite(t *testing.T) {
	if distributed() {
		t.Skip("Postgres tears no pages: the store of one machine is SQLite")
	}
	w := open(t)
	s, ok := w.form.(*single)
	if !ok {
		t.Fatal("this is not the form of one machine")
	}
	row := faults.Row{Fault: "store: torn write, " + s.name()}
	all := tears
	if !full() {
		all = fewTears
	}
	torn := 0 // since the last check
	l := w.load(t, 2*loadClients)
	for tries := 0; row.Rounds < all; tries++ {
		if tries > 3*all {
			t.Fatalf("only %d of %d kills left a log behind", row.Rounds, tries)
		}
		l.serve(t, 10)
		time.Sleep(time.Duration(w.chance.Int64N(int64(500 * time.Millisecond)))) // any instant will do
		s.kill(t)
		if frames, kept := w.tear(t, filepath.Join(s.dir, "store", "curfew.db-wal")); frames > 0 {
			row.Rounds++
			t.Logf("round %d: %d frames torn behind %d that are whole", row.Rounds, frames, kept)
			torn++
		}
		up := w.again(t)
		if torn == tornCheckEvery || row.Rounds == all {
			torn = 0
			l.end()
			w.settle(t, &row, up)
			if row.Rounds < all {
				l = w.load(t, 2*loadClients)
			}
		}
	}
	l.end()
	w.close(t, &row)
}

// A write-ahead log of SQLite (https://www.sqlite.org/fileformat2.html#walformat):
// a header, and frames of a header and a page each.
const (
	walHeader   = 32
	frameHeader = 24
	// walMagic is that of a log with big-endian checksums; without its last bit
	// they are little-endian.
	walMagic = 0x377f0683
)

// wal is such a log.
type wal struct {
	text  []byte
	page  int
	order binary.ByteOrder
	// end is behind the last commit; frames are those before it, sum their
	// checksum.
	end, frames int
	sum         [2]uint32
}

// readWAL reads a log up to its last commit; false: it has none.
func readWAL(text []byte) (*wal, bool) {
	if len(text) < walHeader {
		return nil, false
	}
	l := &wal{text: text, page: int(binary.BigEndian.Uint32(text[8:])), order: binary.LittleEndian}
	switch binary.BigEndian.Uint32(text) {
	case walMagic:
		l.order = binary.BigEndian
	case walMagic &^ 1:
	default:
		return nil, false
	}
	sum := l.add([2]uint32{}, text[:24])
	if sum != stored(text[24:]) {
		return nil, false
	}
	for at, n := walHeader, 1; at+frameHeader+l.page <= len(text); n++ {
		frame := text[at : at+frameHeader+l.page]
		if !bytes.Equal(frame[8:16], text[16:24]) {
			break // of an earlier round of the log
		}
		if sum = l.add(l.add(sum, frame[:8]), frame[frameHeader:]); sum != stored(frame[16:]) {
			break // not whole
		}
		at += len(frame)
		if binary.BigEndian.Uint32(frame[4:]) != 0 { // it ends a commit
			l.end, l.frames, l.sum = at, n, sum
		}
	}
	return l, l.frames > 0
}

func stored(b []byte) [2]uint32 {
	return [2]uint32{binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:])}
}

// add goes on with a checksum.
func (l *wal) add(s [2]uint32, b []byte) [2]uint32 {
	for ; len(b) >= 8; b = b[8:] {
		s[0] += l.order.Uint32(b) + s[1]
		s[1] += l.order.Uint32(b[4:]) + s[0]
	}
	return s
}

// next is the frame that follows, of this page of the database.
func (l *wal) next(number, size uint32, page []byte) []byte {
	frame := make([]byte, frameHeader, frameHeader+len(page))
	binary.BigEndian.PutUint32(frame, number)
	binary.BigEndian.PutUint32(frame[4:], size)
	copy(frame[8:], l.text[16:24])
	l.sum = l.add(l.add(l.sum, frame[:8]), page)
	binary.BigEndian.PutUint32(frame[16:], l.sum[0])
	binary.BigEndian.PutUint32(frame[20:], l.sum[1])
	return append(frame, page...)
}

// tear writes a commit of n pages behind the last one, of which the disk has only
// a part; it returns how many frames of it there are, and how many whole ones
// before. Were it taken for a commit, the database would be damaged.
func (w *world) tear(t *testing.T, file string) (n, kept int) {
	t.Helper()
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, 0
	}
	must(t, err, "read the log")
	l, ok := readWAL(text)
	if !ok {
		return 0, 0
	}
	kept = l.frames
	commit := text[l.end-frameHeader-l.page:]
	size := binary.BigEndian.Uint32(commit[4:]) // pages of the database
	out := bytes.Clone(text[:l.end])
	whole := bytes.Clone(out)
	n = 1 + w.chance.IntN(8)
	hole := w.chance.IntN(n) // which of them is not whole
	for i := range n {
		page := make([]byte, l.page)
		for b := range page {
			page[b] = byte(w.chance.Uint32()) | 1 // what is missing is 0
		}
		var pages uint32
		if i == n-1 {
			pages = size
		}
		frame := l.next(1+uint32(w.chance.IntN(int(size))), pages, page)
		whole = append(whole, frame...)
		if i == hole { // a disk writes sectors, in any order
			from := w.chance.IntN(len(frame))
			clear(frame[from:])
			if i == n-1 && w.chance.IntN(2) == 0 {
				frame = frame[:from] // and the file had not grown so far
			}
		}
		out = append(out, frame...)
	}
	if torn, ok := readWAL(out); !ok || torn.frames != kept {
		t.Fatal("what was torn is whole")
	}
	if all, ok := readWAL(whole); !ok || all.frames != kept+n {
		t.Fatal("what was torn would not be a commit where it is whole")
	}
	must(t, os.WriteFile(file, out, 0o600), "tear the log")
	return n, kept
}
