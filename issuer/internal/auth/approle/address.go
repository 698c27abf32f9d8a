package approle

import (
	"net/netip"
	"strings"

	"github.com/curfew-project/curfew/issuer/internal/wire"
)

// cidrs reads a list of address blocks; a bare address is a block of one. They
// are kept as they were written.
func cidrs(f wire.Fields, name string) ([]string, error) {
	list, err := f.Strings(name)
	if err != nil {
		return nil, err
	}
	for _, text := range list {
		if _, ok := block(text); !ok {
			return nil, wire.Invalid("invalid CIDR blocks: %s has %q", name, text)
		}
	}
	return list, nil
}

// block reads one address block.
func block(text string) (netip.Prefix, bool) {
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

// within reports whether address is in one of the blocks; an address that
// cannot be read is in none.
func within(address string, blocks []string) bool {
	a, err := netip.ParseAddr(address)
	if err != nil {
		return false
	}
	a = a.Unmap().WithZone("")
	for _, text := range blocks {
		if p, ok := block(text); ok && p.Contains(a) {
			return true
		}
	}
	return false
}

// covers reports whether each inner block lies in an outer one. No outer blocks
// are no restriction.
func covers(outer, inner []string) bool {
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
	in, ok := block(inner)
	if !ok {
		return false
	}
	for _, text := range outer {
		if p, ok := block(text); ok && p.Bits() <= in.Bits() && p.Contains(in.Addr()) {
			return true
		}
	}
	return false
}
