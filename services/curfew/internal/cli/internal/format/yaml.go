package format

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// YAML lays out a value as a YAML document: what its JSON says, in order of key.
// Text that could be read as anything else is quoted, as JSON quotes it.
func YAML(value any) (string, error) {
	text, err := json.Marshal(value)
	if err != nil {
		return "", fmt.Errorf("encode as JSON: %w", err)
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var plain any
	if err := decoder.Decode(&plain); err != nil {
		return "", fmt.Errorf("decode JSON: %w", err)
	}
	var b strings.Builder
	block(&b, plain, "", "")
	return b.String(), nil
}

// block writes a value that begins on a line of its own, after first; more is
// how its other lines begin.
func block(b *strings.Builder, value any, first, more string) {
	switch value := value.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(value)) {
			b.WriteString(first + scalar(key) + ":")
			inner(b, value[key], more)
			first = more
		}
		if len(value) > 0 {
			return
		}
	case []any:
		for _, item := range value {
			if leaf(item) {
				b.WriteString(first + "- " + scalar(item) + "\n")
			} else {
				block(b, item, first+"- ", more+"  ")
			}
			first = more
		}
		if len(value) > 0 {
			return
		}
	}
	b.WriteString(first + scalar(value) + "\n")
}

// inner writes the value of a key: on the key's line, or below it. Lists stand
// under the key, maps are set in.
func inner(b *strings.Builder, value any, indent string) {
	if leaf(value) {
		b.WriteString(" " + scalar(value) + "\n")
		return
	}
	b.WriteString("\n")
	if _, list := value.([]any); !list {
		indent += "  "
	}
	block(b, value, indent, indent)
}

// leaf reports whether a value fits on a line.
func leaf(value any) bool {
	switch value := value.(type) {
	case map[string]any:
		return len(value) == 0
	case []any:
		return len(value) == 0
	}
	return true
}

var (
	// plainText needs no quotes, unless it is one of reserved.
	plainText = regexp.MustCompile(`^[A-Za-z/_][A-Za-z0-9_./@+-]*( [A-Za-z0-9_./@+-]+)*$`)
	reserved  = regexp.MustCompile(`(?i)^(y|n|yes|no|on|off|true|false|null)$`)
	// unprintable characters stay as they are in JSON, but not in YAML.
	unprintable = regexp.MustCompile(`[\x{7f}-\x{9f}\x{2028}\x{2029}\x{feff}\x{fffe}\x{ffff}]`)
)

// scalar is a value on a line.
func scalar(value any) string {
	if text, ok := value.(string); ok && plainText.MatchString(text) && !reserved.MatchString(text) {
		return text
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(value); err != nil {
		return "null" // what was decoded from JSON can be encoded
	}
	return unprintable.ReplaceAllStringFunc(strings.TrimSuffix(b.String(), "\n"), func(c string) string {
		return fmt.Sprintf(`\u%04x`, []rune(c)[0])
	})
}
