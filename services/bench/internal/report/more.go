package report

import (
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
)

// places are those that matter of a number.
func places(v float64) int {
	if math.Abs(v) >= 100 {
		return 0
	}
	return 1
}

// more is what only this kind of row has, by name.
func (r Row) more() string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(r.More)) {
		parts = append(parts, strings.ReplaceAll(name, "_", " ")+" "+strconv.FormatFloat(r.More[name], 'f', places(r.More[name]), 64))
	}
	if r.Error != "" {
		parts = append(parts, strings.ReplaceAll(r.Error, "|", "/"))
	}
	return strings.Join(parts, "; ")
}
