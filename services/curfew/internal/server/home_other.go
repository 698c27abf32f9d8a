//go:build unix && !linux

package server

import "golang.org/x/sys/unix"

func placeOf(path string) (place, error) {
	var s unix.Stat_t
	if err := unix.Stat(path, &s); err != nil {
		return place{}, err
	}
	return place{Inode: s.Ino}, nil
}
