package ledger

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Entries are numbered from 1 and signed (event.Position); leaves of a tree
// are counted from 0 and unsigned. These are the only conversions.

// sizeOf is the tree size after the entry with this number.
func sizeOf(number int64) uint64 { return uint64(max(number, 0)) }

// lastOf is the number of the last entry of a tree of this size.
func lastOf(size uint64) int64 { return int64(min(size, math.MaxInt64)) }

// numberOf is the number of the entry at a leaf index.
func numberOf(index uint64) int64 { return lastOf(index) + 1 }

const segmentPrefix = "epoch-"

func segmentName(epoch int64) string { return fmt.Sprintf("%s%04d", segmentPrefix, epoch) }

// parseSegmentName is the inverse of segmentName; other names are not segments.
func parseSegmentName(name string) (int64, bool) {
	digits, ok := strings.CutPrefix(name, segmentPrefix)
	if !ok {
		return 0, false
	}
	epoch, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || epoch < 1 || segmentName(epoch) != name {
		return 0, false
	}
	return epoch, true
}
