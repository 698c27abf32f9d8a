package sse

import (
	"bufio"
	"errors"
	"io"
	"strconv"
	"strings"
	"time"
)

// MaxEvent is the most bytes that one event's lines may have together.
const MaxEvent = 1 << 20

// ErrTooLarge says that an event exceeded MaxEvent.
var ErrTooLarge = errors.New("event exceeds 1 MiB")

// Event is one delivered event.
type Event struct {
	ID   string // the last id seen on the stream, as the standard has it
	Type string // empty where the standard says "message"
	Data string
}

// Reader reads events; it is not safe for concurrent use.
type Reader struct {
	in      *bufio.Reader
	budget  int
	lastID  string
	retry   time.Duration
	afterCR bool // the line before ended in CR: one LF more belongs to it
	begun   bool
}

// NewReader reads events from in. lastID is the id that the stream was resumed
// after; events before the first id line carry it.
func NewReader(in io.Reader, lastID string) *Reader {
	return &Reader{in: bufio.NewReader(in), lastID: lastID}
}

// Retry is the reconnection delay that the server asked for last, or zero.
func (r *Reader) Retry() time.Duration { return r.retry }

// LastID is the id to resume after: that of the last event delivered, or a later
// one that the server gave in an event without data to mark a position.
func (r *Reader) LastID() string { return r.lastID }

// Next returns the next event. It returns io.EOF where the stream ends, also
// when it ends inside an event, and ErrTooLarge for an event beyond MaxEvent;
// after an error the reader is spent.
func (r *Reader) Next() (Event, error) {
	r.budget = MaxEvent
	var (
		event   Event
		data    []string
		id      = r.lastID
		hasData bool
	)
	for {
		line, err := r.line()
		if err != nil {
			return Event{}, err
		}
		if line == "" {
			r.lastID = id
			if hasData {
				event.ID, event.Data = id, strings.Join(data, "\n")
				return event, nil
			}
			event, r.budget = Event{}, MaxEvent
			continue
		}
		if strings.HasPrefix(line, ":") {
			// A heartbeat is part of no event: a quiet stream may have any number.
			r.budget += len(line)
			continue
		}
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch field {
		case "data":
			data, hasData = append(data, value), true
		case "event":
			event.Type = value
		case "id":
			if !strings.ContainsRune(value, 0) {
				id = value
			}
		case "retry":
			if ms, err := strconv.ParseUint(value, 10, 31); err == nil {
				r.retry = time.Duration(ms) * time.Millisecond
			}
		}
	}
}

// line reads up to the next line end and charges its bytes to the event's
// budget. Bytes without a line end at the end of the stream are no line.
func (r *Reader) line() (string, error) {
	var line []byte
	for {
		b, err := r.in.ReadByte()
		if err != nil {
			return "", err
		}
		if b == '\n' && r.afterCR {
			r.afterCR = false
			continue
		}
		r.afterCR = b == '\r'
		if b == '\n' || b == '\r' {
			break
		}
		if r.budget--; r.budget < 0 {
			return "", ErrTooLarge
		}
		line = append(line, b)
	}
	text := string(line)
	if !r.begun {
		r.begun, text = true, strings.TrimPrefix(text, "\ufeff")
	}
	return text, nil
}
