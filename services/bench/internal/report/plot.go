package report

import (
	"fmt"
	"html"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
)

// Plot is a line chart. Axes begin at 0; the x axis of one with Steps has its
// points at equal distances, as for 1, 8, 32, 64.
type Plot struct {
	Title, X, Y string
	Steps       bool
	Lines       map[string][]Point
}

// The drawing, in pixels.
const (
	width, height            = 720, 400
	left, right, top, bottom = 70, 20, 40, 90
)

// Ten colours that people with any colour vision tell apart, after Okabe and Ito.
func colours() []string {
	return []string{"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999"}
}

// Write writes the chart as SVG.
func (p Plot) Write(w io.Writer) error {
	var xs []float64
	var maxX, maxY float64
	for _, line := range p.Lines {
		for _, pt := range line {
			xs, maxX, maxY = append(xs, pt.X), max(maxX, pt.X), max(maxY, pt.Y)
		}
	}
	if len(xs) == 0 {
		return fmt.Errorf("plot %q: no points", p.Title)
	}
	slices.Sort(xs)
	xs = slices.Compact(xs)
	scaleY := ceiling(maxY)
	at := func(pt Point) (x, y float64) {
		share := pt.X / max(maxX, math.SmallestNonzeroFloat64)
		if p.Steps {
			i, _ := slices.BinarySearch(xs, pt.X)
			share = (float64(i) + 0.5) / float64(len(xs))
		}
		return left + share*(width-left-right), height - bottom - pt.Y/scaleY*(height-top-bottom)
	}
	var out strings.Builder
	fmt.Fprintf(&out, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`+"\n", width, height)
	out.WriteString(`<rect width="100%" height="100%" fill="#fff"/>` + "\n")
	text(&out, width/2, 22, "middle", p.Title, `font-size="15"`)
	text(&out, (left+width-right)/2, height-bottom+36, "middle", p.X, "")
	text(&out, 0, 0, "middle", p.Y, fmt.Sprintf(`transform="translate(18 %d) rotate(-90)"`, (top+height-bottom)/2))
	const lines = 5
	for i := range lines + 1 {
		v := scaleY * float64(i) / lines
		_, y := at(Point{0, v})
		fmt.Fprintf(&out, `<path d="M%d %.1fH%d" stroke="#ddd"/>`+"\n", left, y, width-right)
		text(&out, left-6, y+4, "end", fmt.Sprintf("%g", v), "")
	}
	if !p.Steps {
		xs = xs[:0]
		for i := range lines + 1 {
			xs = append(xs, maxX*float64(i)/lines)
		}
	}
	for _, v := range xs {
		x, _ := at(Point{v, 0})
		text(&out, x, height-bottom+16, "middle", fmt.Sprintf("%.4g", v), "")
	}
	for i, name := range slices.Sorted(maps.Keys(p.Lines)) {
		p.line(&out, i, name, at)
	}
	out.WriteString("</svg>\n")
	if _, err := io.WriteString(w, out.String()); err != nil {
		return fmt.Errorf("write a plot: %w", err)
	}
	return nil
}

// line draws one line, its points where they are few, and its entry in the legend.
func (p Plot) line(out *strings.Builder, i int, name string, at func(Point) (x, y float64)) {
	colour := colours()[i%len(colours())]
	var path strings.Builder
	for n, pt := range p.Lines[name] {
		x, y := at(pt)
		fmt.Fprintf(&path, "%s%.1f %.1f", map[bool]string{true: "M", false: "L"}[n == 0], x, y)
		if len(p.Lines[name]) <= 20 {
			fmt.Fprintf(out, `<circle cx="%.1f" cy="%.1f" r="3" fill="%s"/>`+"\n", x, y, colour)
		}
	}
	fmt.Fprintf(out, `<path d="%s" fill="none" stroke="%s" stroke-width="2"/>`+"\n", path.String(), colour)
	x, y := left+float64(i%3)*215, float64(height-bottom+58+i/3*18)
	fmt.Fprintf(out, `<path d="M%.0f %.0fh18" stroke="%s" stroke-width="3"/>`+"\n", x, y-4, colour)
	text(out, x+24, y, "start", name, "")
}

func text(out *strings.Builder, x, y float64, anchor, s, more string) {
	fmt.Fprintf(out, `<text x="%.1f" y="%.1f" text-anchor="%s" %s>%s</text>`+"\n", x, y, anchor, more, html.EscapeString(s))
}

// ceiling is the next 1, 2 or 5 times a power of ten.
func ceiling(v float64) float64 {
	if v <= 0 {
		return 1
	}
	power := math.Pow(10, math.Floor(math.Log10(v)))
	for _, f := range []float64{1, 2, 5, 10} {
		if v <= f*power {
			return f * power
		}
	}
	return 10 * power
}
