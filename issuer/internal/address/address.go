// Package address compares the addresses that requests come from with the blocks
// that tokens and secret ids are bound to. What cannot be read is in no block and
// covers nothing. An IPv4 address and its form inside IPv6 are the same.
package address

import (
	"net/netip"
	"strings"
)

// Block reads a block in CIDR notation (RFC 4632); a bare address is a block of
// one.
func Block(text string) (netip.Prefix, bool) {
	if !strings.Contains(text, "/") {
		a, err := netip.ParseAddr(text)
		if err != nil || a.Zone() != "" {
			return netip.Prefix{}, false
		}
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), true
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return netip.Prefix{}, false
	}
	const mapped = 96 // leading bits of ::ffff:0:0/96
	if p.Addr().Is4In6() && p.Bits() >= mapped {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-mapped)
	}
	return p.Masked(), true
}

// Within reports whether address is in one of the blocks; an address that
// cannot be read is in none.
func Within(address string, blocks []string) bool {
	a, err := netip.ParseAddr(address)
	if err != nil {
		return false
	}
	a = a.Unmap().WithZone("")
	for _, text := range blocks {
		if p, ok := Block(text); ok && p.Contains(a) {
			return true
		}
	}
	return false
}

// Covers reports whether each inner block lies in an outer one. No outer blocks
// are no restriction.
func Covers(outer, inner []string) bool {
	if len(outer) == 0 {
		return true
	}
	for _, text := range inner {
		if !covered(outer, text) {
			return false
		}
	}
	return true
}

func covered(outer []string, inner string) bool {
	in, ok := Block(inner)
	if !ok {
		return false
	}
	for _, text := range outer {
		if p, ok := Block(text); ok && p.Bits() <= in.Bits() && p.Contains(in.Addr()) {
			return true
		}
	}
	return false
}
