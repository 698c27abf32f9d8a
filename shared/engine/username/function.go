package username

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// function makes an expression of its arguments.
type function func(args []value) (value, error)

// functions are those of stock servers, as far as their results can be names.
func functions() map[string]function {
	return map[string]function{
		"random":           random,
		"truncate":         truncate,
		"truncate_sha256":  truncateHash,
		"uppercase":        uppercase,
		"lowercase":        lowercase,
		"replace":          replaceText,
		"sha256":           hash,
		"base64":           encode,
		"timestamp":        timestamp,
		"unix_time":        clockText(timeLen, func(at time.Time) int64 { return min(max(at.Unix(), 0), maxUnix) }),
		"unix_time_millis": clockText(timeLen+3, func(at time.Time) int64 { return min(max(at.UnixMilli(), 0), maxUnix*1000) }),
		"uuid":             uuid,
		"printf":           printf,
	}
}

// functionNames is what the parser asks for.
func functionNames() map[string]any {
	names := map[string]any{}
	for name := range functions() {
		names[name] = true
	}
	return names
}

func apply(name string, args []value) (value, error) {
	f, known := functions()[name]
	if !known {
		return value{}, errors.New("is not supported here")
	}
	return f(args)
}

// texts checks that there are n arguments, which are texts.
func texts(args []value, n int) error {
	if len(args) != n {
		return fmt.Errorf("%d arguments are given, %d are wanted", len(args), n)
	}
	for _, a := range args {
		if a.number != nil {
			return errors.New("a number stands where a text is wanted")
		}
		if a.literal != nil && !plain(*a.literal) {
			return fmt.Errorf("names consist of letters, digits and %s, not of %q", characters, *a.literal)
		}
	}
	return nil
}

// unmarked checks that the mark is not changed.
func unmarked(v value) error {
	if v.marks > 0 {
		return errors.New("it would change {{.Mark}}: apply it to the other parts alone")
	}
	return nil
}

// one is a function of one text that makes another of it.
func one(args []value, longest func(int) int, do func(string) string) (value, error) {
	if err := texts(args, 1); err != nil {
		return value{}, err
	}
	v := args[0]
	if err := unmarked(v); err != nil {
		return value{}, err
	}
	return value{max: min(longest(v.max), unbounded), eval: func(in *inputs) string { return do(v.eval(in)) }}, nil
}

func same(n int) int { return n }

func uppercase(args []value) (value, error) { return one(args, same, strings.ToUpper) }

func lowercase(args []value) (value, error) {
	if err := texts(args, 1); err != nil {
		return value{}, err
	}
	v := args[0] // a mark is in lower case
	return value{max: v.max, marks: v.marks, eval: func(in *inputs) string { return strings.ToLower(v.eval(in)) }}, nil
}

func hash(args []value) (value, error) {
	return one(args, func(int) int { return 2 * sha256.Size }, hexHash)
}

func hexHash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

func encode(args []value) (value, error) {
	return one(args, base64.StdEncoding.EncodedLen, func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) })
}

// limited reads the arguments of a function that shortens: a number, and a text.
// done is the result where there is nothing to shorten.
func limited(args []value, least int) (n int, v value, done bool, err error) {
	if len(args) != 2 || args[0].number == nil {
		return 0, v, false, errors.New("a number and a text are wanted")
	}
	if n = *args[0].number; n < least {
		return 0, v, false, fmt.Errorf("max length must be > %d but was %d", least-1, n)
	}
	v = args[1]
	if err := texts(args[1:], 1); err != nil {
		return 0, v, false, err
	}
	if v.max <= n {
		return n, v, true, nil
	}
	if v.marks > 0 {
		return 0, v, false, fmt.Errorf("%d bytes may cut into {{.Mark}}: shorten the other parts, as in {{.DisplayName | truncate 8}}", n)
	}
	return n, v, false, nil
}

func truncate(args []value) (value, error) {
	n, v, done, err := limited(args, 1)
	if err != nil || done {
		return v, err
	}
	return value{max: n, eval: func(in *inputs) string { s := v.eval(in); return s[:min(n, len(s))] }}, nil
}

// shortHash is how much of the hash of what is cut off stands in its place.
const shortHash = 8

func truncateHash(args []value) (value, error) {
	n, v, done, err := limited(args, shortHash+1)
	if err != nil || done {
		return v, err
	}
	return value{max: n, eval: func(in *inputs) string {
		s := v.eval(in)
		if len(s) <= n {
			return s
		}
		kept := n - shortHash
		return s[:kept] + hexHash(s[kept:])[:shortHash]
	}}, nil
}

func replaceText(args []value) (value, error) {
	if len(args) != 3 || args[0].literal == nil || args[1].literal == nil {
		return value{}, errors.New("two texts in quotes and a third one are wanted")
	}
	if err := texts(args[1:], 2); err != nil { // what is looked for may be anything
		return value{}, err
	}
	find, by, v := *args[0].literal, *args[1].literal, args[2]
	if err := unmarked(v); err != nil {
		return value{}, err
	}
	longest := v.max
	switch {
	case find == "": // it is found before each character and at the end
		longest += (v.max + 1) * len(by)
	case len(by) > len(find):
		longest += v.max / len(find) * (len(by) - len(find))
	}
	return value{max: min(longest, unbounded), eval: func(in *inputs) string { return strings.ReplaceAll(v.eval(in), find, by) }}, nil
}

// random is n characters of base62.
func random(args []value) (value, error) {
	if len(args) != 1 || args[0].number == nil || *args[0].number < 1 || *args[0].number > MaxTemplated {
		return value{}, fmt.Errorf("a number from 1 to %d is wanted", MaxTemplated)
	}
	n := *args[0].number
	return value{max: n, eval: func(*inputs) string {
		const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
		out := make([]byte, 0, n)
		for len(out) < n {
			var b [1]byte
			rand.Read(b[:]) // never fails, it ends the process
			if i := int(b[0] & 63); i < len(base62) {
				out = append(out, base62[i])
			}
		}
		return string(out)
	}}, nil
}

// uuid is a random one, of version 4 (RFC 9562).
func uuid(args []value) (value, error) {
	if err := texts(args, 0); err != nil {
		return value{}, err
	}
	return value{max: 36, eval: func(*inputs) string {
		var b [16]byte
		rand.Read(b[:]) // never fails, it ends the process
		b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
		return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
	}}, nil
}

func clockText(length int, of func(time.Time) int64) function {
	return func(args []value) (value, error) {
		if err := texts(args, 0); err != nil {
			return value{}, err
		}
		return value{max: length, eval: func(in *inputs) string { return strconv.FormatInt(of(in.at), 10) }}, nil
	}
}

// timestamp is the time of making in UTC, in the notation of package time.
func timestamp(args []value) (value, error) {
	if len(args) != 1 || args[0].literal == nil {
		return value{}, errors.New(`a format in quotes is wanted, as in timestamp "20060102"`)
	}
	layout := *args[0].literal
	longest := 0
	for _, at := range longestTimes() {
		longest = max(longest, len(at.Format(layout)))
	}
	return value{max: longest, eval: func(in *inputs) string {
		return strings.Map(func(r rune) rune { // a layout pads with spaces, and may hold anything
			if r < 0x80 && plain(string(r)) {
				return r
			}
			return '-'
		}, cutTo(in.at.Format(layout), longest))
	}}, nil
}

// longestTimes are times whose parts are spelled out longest: month and weekday
// of most letters, days of the year of three digits, fractions.
func longestTimes() []time.Time {
	var all []time.Time
	for day := range 366 {
		all = append(all, time.Date(2024, 1, 1+day, 22, 58, 58, 999_999_999, time.UTC))
	}
	return all
}

func cutTo(s string, n int) string { return s[:min(n, len(s))] }

// printf takes the verbs for texts alone.
func printf(args []value) (value, error) {
	if len(args) == 0 || args[0].literal == nil {
		return value{}, errors.New("a format in quotes is wanted first")
	}
	if err := texts(args[1:], len(args)-1); err != nil {
		return value{}, err
	}
	format, rest := *args[0].literal, args[1:]
	var parts []value
	for format != "" {
		text, after, found := strings.Cut(format, "%")
		part, err := literalText(text)
		if err != nil {
			return value{}, err
		}
		parts, format = append(parts, part), after
		switch {
		case !found:
		case format != "" && (format[0] == 's' || format[0] == 'v'):
			if len(rest) == 0 {
				return value{}, errors.New("the format asks for more texts than are given")
			}
			parts, rest, format = append(parts, rest[0]), rest[1:], format[1:]
		default:
			return value{}, errors.New("of the verbs %s and %v are supported")
		}
	}
	if len(rest) > 0 {
		return value{}, errors.New("more texts are given than the format asks for")
	}
	return joined(parts), nil
}
