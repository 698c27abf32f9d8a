//go:build e2e

package fleet

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
)

// metrics are those of a program, by name; series of one name are added up.
func (f *fleet) metrics(tb testing.TB, name string) (map[string]float64, error) {
	tb.Helper()
	address := f.config(tb, name).Monitor.Address
	req, err := http.NewRequestWithContext(tb.Context(), http.MethodGet, "http://"+address+"/metrics", http.NoBody)
	if err != nil {
		return nil, err
	}
	res, err := (&http.Client{Timeout: hang, Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }() // it was read
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("metrics of %s: %s, %w", name, res.Status, err)
	}
	out := map[string]float64{}
	for lines := bufio.NewScanner(bytes.NewReader(body)); lines.Scan(); {
		series, value, ok := strings.Cut(lines.Text(), " ")
		if !ok || strings.HasPrefix(series, "#") {
			continue
		}
		metric, labels, labelled := strings.Cut(series, "{")
		if labelled { // a label's value may hold blanks
			_, value, _ = strings.Cut(labels+" "+value, "} ")
		}
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return nil, fmt.Errorf("metrics of %s: %q: %w", name, lines.Text(), err)
		}
		out[metric] += v
	}
	return out, nil
}
