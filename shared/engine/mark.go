package engine

import (
	"fmt"
	"strings"
)

// MaxMark bounds the text of a mark, in bytes.
const MaxMark = 1000

// CheckMark says with an error of kind Invalid why a text can not be the mark of
// a target: it is empty, too long, or more than printable ASCII.
func CheckMark(mark string) error {
	strange := strings.ContainsFunc(mark, func(r rune) bool { return r < ' ' || r > '~' })
	if mark == "" || len(mark) > MaxMark || strange {
		return &Error{Kind: Invalid, Message: fmt.Sprintf("the mark of a target is 1 to %d bytes of printable ASCII", MaxMark)}
	}
	return nil
}
