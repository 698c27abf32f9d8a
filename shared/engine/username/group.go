package username

import (
	"strconv"
	"time"
)

// GroupPrefix begins the names of group roles; no account's name begins so.
const GroupPrefix = "curfew-grants-"

// groupDomain keeps the tags of group roles apart from those of accounts.
const groupDomain = "curfew group role tag v1"

// groupShape is what every name of a group role looks like. A hyphen stands
// inside what would be the mark of an account, so that the one is never taken
// for the other, whatever a template says.
const groupShape = `^(` + GroupPrefix + `[a-z0-9][a-z0-9-]{0,7}-)` +
	`([a-z2-7]{12})-([a-z2-7])([a-z2-7]{7})-(0|[1-9][0-9]{0,10})$`

// Group returns the name of the group role that holds what the accounts of a
// role share. id names the group; the same arguments give the same name, of at
// most 56 bytes.
func (n *Namer) Group(role, id string, at time.Time) string {
	unix := strconv.FormatInt(min(max(at.Unix(), 0), maxUnix), 10)
	head := GroupPrefix + part(role) + "-"
	hash := n.leaseHash(id)
	return head + hash + "-" + string(n.current) + n.tag(groupDomain, n.keys[n.current], head+hash+string(n.current), unix) + "-" + unix
}

// RecogniseGroup reports whether this installation made the name of a group
// role, and when. It takes any bytes, of any length.
func (n *Namer) RecogniseGroup(name string) (createdAt time.Time, ok bool) {
	m := n.group.FindStringSubmatch(name)
	if m == nil {
		return time.Time{}, false
	}
	head, hash, keyID, tag, unix := m[1], m[2], m[3], m[4], m[5]
	key, known := n.keys[keyID[0]]
	if !known || !equal(n.tag(groupDomain, key, head+hash+keyID, unix), tag) {
		return time.Time{}, false
	}
	seconds, err := strconv.ParseInt(unix, 10, 64)
	if err != nil {
		return time.Time{}, false
	}
	return time.Unix(seconds, 0).UTC(), true
}
