package wire

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// Decode reads the JSON object that a client sent. An empty body and `null`
// give an empty map. Numbers keep their digits, as [json.Number]. Every error
// is an [*Error].
func Decode(body io.Reader) (map[string]any, error) {
	d := json.NewDecoder(body)
	d.UseNumber()
	var data map[string]any
	if err := d.Decode(&data); errors.Is(err, io.EOF) {
		return map[string]any{}, nil
	} else if err != nil {
		return nil, undecodable(err)
	}
	// One value is a request; what follows it would be ignored silently.
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		if err == nil || isSyntax(err) {
			err = errors.New("data after the first value")
		}
		return nil, undecodable(err)
	}
	if data == nil {
		data = map[string]any{}
	}
	return data, nil
}

func isSyntax(err error) bool {
	_, ok := errors.AsType[*json.SyntaxError](err)
	return ok
}

func undecodable(err error) *Error {
	status := http.StatusBadRequest
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		status = http.StatusRequestEntityTooLarge
	}
	text := err.Error()
	if isSyntax(err) {
		// Stock servers stop after the character: what the parser looked for
		// helps nobody.
		if cut := strings.Index(text, "' "); cut > 0 && strings.HasPrefix(text, "invalid character") {
			text = text[:cut+1]
		}
	}
	return &Error{Status: status, Messages: []string{fmt.Sprintf("failed to decode JSON input: %s", text)}, Cause: err}
}
