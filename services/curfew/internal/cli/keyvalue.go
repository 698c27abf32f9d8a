package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

var errStdinTwice = errors.New("standard input can be read only once")

// keyValues parses the data arguments of a request:
//
//	key=value    a string; everything after the first "=" counts
//	key=@file    the content of a file as a string, byte for byte
//	key=\@text   the string "@text"
//	key=-        standard input as a string
//	@file        a JSON object whose members are added
//	-            a JSON object on standard input
//
// A key given again becomes a list of its values, in order. It returns nil for
// no arguments. Errors name the argument by position and, where it has one, by
// key, never by value: it may be a password.
func keyValues(args []string, stdin io.Reader) (map[string]any, error) {
	if len(args) == 0 {
		return nil, nil
	}
	p := keyValueParser{stdin: stdin, result: make(map[string]any)}
	for i, arg := range args {
		if err := p.add(arg); err != nil {
			return nil, fmt.Errorf("argument %d: %w", i+1, err)
		}
	}
	return p.result, nil
}

type keyValueParser struct {
	stdin  io.Reader // nil once read
	result map[string]any
}

func (p *keyValueParser) add(arg string) error {
	if arg == "-" {
		content, err := p.readStdin()
		if err != nil {
			return err
		}
		return p.merge(content, "standard input")
	}
	if path, ok := strings.CutPrefix(arg, "@"); ok {
		content, err := os.ReadFile(path) //nolint:gosec // the user names the file
		if err != nil {
			return err
		}
		return p.merge(content, path)
	}
	key, value, ok := strings.Cut(arg, "=")
	if !ok || key == "" {
		return errors.New("want key=value")
	}
	value, err := p.expand(value)
	if err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	p.set(key, value)
	return nil
}

// expand resolves the special forms of a value.
func (p *keyValueParser) expand(value string) (string, error) {
	var content []byte
	var err error
	switch {
	case value == "-":
		content, err = p.readStdin()
	case strings.HasPrefix(value, "@"):
		content, err = os.ReadFile(value[1:])
	case strings.HasPrefix(value, `\@`):
		return value[1:], nil
	default:
		return value, nil
	}
	return string(content), err
}

func (p *keyValueParser) readStdin() ([]byte, error) {
	if p.stdin == nil {
		return nil, errStdinTwice
	}
	stdin := p.stdin
	p.stdin = nil
	return io.ReadAll(stdin)
}

// merge adds the members of a JSON object. Numbers keep their digits.
func (p *keyValueParser) merge(content []byte, source string) error {
	decoder := json.NewDecoder(strings.NewReader(string(content)))
	decoder.UseNumber()
	var object map[string]any
	if err := decoder.Decode(&object); err != nil {
		// The decoder's own message may quote the content.
		return fmt.Errorf("%s does not hold a JSON object", source)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) || object == nil {
		return fmt.Errorf("%s does not hold one JSON object", source)
	}
	for key, value := range object {
		p.set(key, value)
	}
	return nil
}

func (p *keyValueParser) set(key string, value any) {
	before, again := p.result[key]
	if !again {
		p.result[key] = value
		return
	}
	if list, ok := before.([]any); ok {
		p.result[key] = append(list, value)
		return
	}
	p.result[key] = []any{before, value}
}

// queryValues is keyValues for requests that carry data in the query.
func queryValues(args []string, stdin io.Reader) (map[string][]string, error) {
	data, err := keyValues(args, stdin)
	if data == nil || err != nil {
		return nil, err
	}
	query := make(map[string][]string, len(data))
	for key, value := range data {
		list, ok := value.([]any)
		if !ok {
			list = []any{value}
		}
		for _, item := range list {
			query[key] = append(query[key], fmt.Sprint(item))
		}
	}
	return query, nil
}
