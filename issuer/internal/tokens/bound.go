package tokens

import (
	"fmt"
	"net/netip"
	"slices"
)

// network reads a CIDR, or an address alone.
func network(text string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(text); err == nil {
		addr = addr.Unmap().WithZone("")
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return p, fmt.Errorf("read network: %w", err)
	}
	return p, nil
}

// admits reports whether the token may be used from address. What cannot be
// read admits nobody.
func (a *attributes) admits(address string) bool {
	if len(a.BoundCIDRs) == 0 {
		return true
	}
	from, err := netip.ParseAddr(address)
	if err != nil {
		return false
	}
	from = from.Unmap().WithZone("")
	return slices.ContainsFunc(a.BoundCIDRs, func(c string) bool {
		p, err := network(c)
		return err == nil && p.Contains(from)
	})
}
