package format

import (
	"strings"
	"unicode/utf8"
)

// Width is the longest line that Wrap makes, indent included.
const Width = 78

// Wrap breaks text into lines of at most Width characters, each indented by
// indent spaces. Breaks are chosen for the least ragged right edge (the sum of
// squared slack over all lines but the last), not greedily. A word longer than
// a line stands alone and whole. White space in text, newlines included,
// separates words and is otherwise lost.
func Wrap(text string, indent int) string {
	words := strings.Fields(text)
	limit := Width - indent
	breaks := lineBreaks(words, limit)
	pad := strings.Repeat(" ", indent)

	var lines []string
	for start := 0; start < len(words); start = breaks[start] {
		lines = append(lines, pad+strings.Join(words[start:breaks[start]], " "))
	}
	return strings.Join(lines, "\n")
}

// lineBreaks answers, for each word that a line may start with, the word that
// the next line starts with. It works from the last word back: the best layout
// of a tail is known before any line that precedes it.
func lineBreaks(words []string, limit int) []int {
	n := len(words)
	next := make([]int, n)
	cost := make([]int, n+1)
	for start := n - 1; start >= 0; start-- {
		width := -1
		for end := start + 1; end <= n; end++ {
			width += 1 + utf8.RuneCountInString(words[end-1])
			if width > limit && end > start+1 {
				break
			}
			slack := max(limit-width, 0)
			if end == n {
				slack = 0
			}
			if c := slack*slack + cost[end]; next[start] == 0 || c < cost[start] {
				next[start], cost[start] = end, c
			}
		}
	}
	return next
}
