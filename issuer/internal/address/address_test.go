package address

import (
	"fmt"
	"net/netip"
	"testing"

	"pgregory.net/rapid"
)

func drawAddr(t *rapid.T) netip.Addr {
	// Few bits vary, so that blocks and addresses meet.
	low := rapid.SliceOfN(rapid.Byte(), 2, 2).Draw(t, "low")
	if rapid.Bool().Draw(t, "six") {
		return netip.AddrFrom16([16]byte{0: 0x20, 1: 1, 14: low[0], 15: low[1]})
	}
	return netip.AddrFrom4([4]byte{10, 0, low[0], low[1]})
}

func drawBlock(t *rapid.T) string {
	a := drawAddr(t)
	if rapid.Bool().Draw(t, "alone") {
		return a.String()
	}
	return fmt.Sprintf("%s/%d", a, a.BitLen()-rapid.IntRange(0, 17).Draw(t, "host"))
}

// Law: an address within blocks that others cover is within the others.
func TestCoveredBlocksAdmitNoMore(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		outer := rapid.SliceOfN(rapid.Custom(drawBlock), 1, 4).Draw(t, "outer")
		inner := rapid.SliceOfN(rapid.Custom(drawBlock), 1, 2).Draw(t, "inner")
		from := rapid.Custom(drawAddr).Draw(t, "from").String()
		if !Covers(inner, inner) {
			t.Fatalf("%v does not cover itself", inner)
		}
		if Covers(outer, inner) && Within(from, inner) && !Within(from, outer) {
			t.Fatalf("%s is within %v and not within %v, which covers it", from, inner, outer)
		}
	})
}

// Law: what is taken for an address block is one for every check.
func FuzzBlock(f *testing.F) {
	for _, s := range []string{"10.0.0.0/8", "10.1.2.3", "::/0", "fe80::1%eth0", "::ffff:10.0.0.1/104", "10.0.0.0/33", "", "/", "x/8", "::ffff:0.0.0.0/90"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, ok := Block(text)
		if !ok {
			return
		}
		if !p.IsValid() || !Within(p.Addr().String(), []string{text}) || !Covers([]string{text}, []string{text}) {
			t.Fatalf("%q was taken as %v", text, p)
		}
	})
}
