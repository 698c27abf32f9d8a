package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// readJSON reads strictly: the JSON dialect of the HCL library drops truth
// values in lists, keeps names twice and stops at what follows.
func readJSON(text string) (*object, error) {
	r := &jsonReader{text: text, line: 1, Decoder: json.NewDecoder(strings.NewReader(text))}
	r.UseNumber()
	value, err := r.value(0)
	if err != nil {
		return nil, err
	}
	if _, err := r.Token(); !errors.Is(err, io.EOF) {
		return nil, r.at(errors.New("data after the end of the policy"))
	}
	root, ok := value.(*object)
	if !ok {
		return nil, errors.New("does not contain a root object")
	}
	return root, nil
}

type jsonReader struct {
	*json.Decoder
	text string
	// line and start of line of what is before seen
	seen, line, start int
}

func (r *jsonReader) position() (line, column int) {
	to := min(int(r.InputOffset()), len(r.text))
	for i := r.seen; i < to; i++ {
		if r.text[i] == '\n' {
			r.line, r.start = r.line+1, i+1
		}
	}
	r.seen = to
	return r.line, to - r.start
}

func (r *jsonReader) at(err error) error {
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	line, column := r.position()
	return fmt.Errorf("At %d:%d: %w", line, column, err) //nolint:staticcheck // as the HCL library has it
}

func (r *jsonReader) next() (json.Token, error) {
	t, err := r.Token()
	if n, ok := t.(json.Number); ok && err == nil {
		if _, err = strconv.ParseFloat(n.String(), 64); err != nil {
			err = errors.New("the number is out of range")
		}
	}
	if err != nil {
		return nil, r.at(err)
	}
	return t, nil
}

func (r *jsonReader) value(depth int) (any, error) {
	t, err := r.next()
	if err != nil {
		return nil, err
	}
	delim, ok := t.(json.Delim)
	switch {
	case !ok:
		return t, nil
	case depth == maxDepth:
		return nil, errDeep
	case delim == '{':
		return r.object(depth + 1)
	}
	list := []any{}
	for r.More() {
		item, err := r.value(depth + 1)
		if err != nil {
			return nil, err
		}
		list = append(list, item)
	}
	_, err = r.next() // the end of the list
	return list, err
}

func (r *jsonReader) object(depth int) (*object, error) {
	o, seen := &object{}, map[string]bool{}
	for r.More() {
		t, err := r.next()
		if err != nil {
			return nil, err
		}
		f := field{}
		f.name, _ = t.(string) // the decoder lets nothing else stand here
		f.line, f.column = r.position()
		if seen[f.name] {
			return nil, f.again()
		}
		seen[f.name] = true
		if f.value, err = r.value(depth); err != nil {
			return nil, err
		}
		o.fields = append(o.fields, f)
	}
	_, err := r.next() // the end of the object
	return o, err
}
