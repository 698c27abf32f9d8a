package format

import (
	"strings"
	"unicode/utf8"
)

const (
	columnGap = "    "
	emptyCell = "n/a"
)

// Table aligns rows under a header and a rule of dashes as wide as each
// heading. Rows may be shorter than the header; missing cells read as empty
// ones. The text ends in a newline.
func Table(header []string, rows [][]string) string {
	rule := make([]string, len(header))
	for i, heading := range header {
		rule[i] = strings.Repeat("-", utf8.RuneCountInString(heading))
	}
	lines := append([][]string{header, rule}, rows...)

	widths := make([]int, len(header))
	for _, line := range lines {
		for i := range header {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell(line, i)))
		}
	}
	var out strings.Builder
	for _, line := range lines {
		for i := range header {
			text := cell(line, i)
			out.WriteString(text)
			if i < len(header)-1 {
				out.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(text)))
				out.WriteString(columnGap)
			}
		}
		out.WriteByte('\n')
	}
	return out.String()
}

// cell trims what it shows: a value that ends in a newline (a policy text, a
// certificate) must not tear the table apart. Field output keeps every byte.
func cell(line []string, i int) string {
	if i >= len(line) {
		return emptyCell
	}
	if text := strings.TrimSpace(line[i]); text != "" {
		return text
	}
	return emptyCell
}
