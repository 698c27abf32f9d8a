package device

import (
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Options are what a device is enabled with.
type Options struct {
	// Path is the file, as it was given.
	Path string
	// Mode is that of the file; 0 leaves the mode of one that is there as it is.
	Mode fs.FileMode
	// PlainAccessor writes accessors as they are (hmac_accessor=false).
	PlainAccessor bool
}

// defaultMode is that of stock servers: for the owner only.
const defaultMode fs.FileMode = 0o600

// executable are the bits that no file of a device may have: a line holds text
// that clients choose, and whoever may enable devices must not be able to put a
// program on the machine.
const executable fs.FileMode = 0o111

// ParseOptions reads and checks options. Where the file may be is the auditor's
// to say.
func ParseOptions(given map[string]string) (Options, error) {
	o := Options{Mode: defaultMode}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		if err := o.set(name, given[name]); err != nil {
			return o, err
		}
	}
	if o.Path == "" {
		return o, fmt.Errorf("file_path is required")
	}
	return o, nil
}

func (o *Options) set(name, value string) error {
	switch name {
	case "file_path", "path":
		return o.setPath(name, value)
	case "mode":
		return o.setMode(value)
	case "format":
		if value != "" && value != "json" {
			return fmt.Errorf("unknown format type %q: lines are JSON", value)
		}
		return nil
	case "prefix":
		if value != "" {
			return fmt.Errorf("prefix is not supported: a line is JSON and nothing else")
		}
		return nil
	case "log_raw", "hmac_accessor", "elide_list_responses":
		return o.setSwitch(name, value)
	}
	return fmt.Errorf("unknown option %q", name)
}

func (o *Options) setPath(name, value string) error {
	switch value = strings.TrimSpace(value); {
	case o.Path != "" && o.Path != value:
		return fmt.Errorf("file_path and path are two names of one option, with different values")
	case value == "stdout" || value == "discard":
		return fmt.Errorf("%s=%s is not supported: name a file", name, value)
	case strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return fmt.Errorf("%s has a control character", name)
	case strings.HasSuffix(value, "/"):
		return fmt.Errorf("%s %q names a directory, not a file", name, value)
	}
	o.Path = value
	return nil
}

func (o *Options) setMode(value string) error {
	if value == "" {
		return nil
	}
	mode, err := strconv.ParseUint(value, 8, 32)
	if err != nil || mode > 0o777 {
		return fmt.Errorf("mode %q is not an octal number such as 0640", value)
	}
	o.Mode = fs.FileMode(mode)
	switch {
	case o.Mode&executable != 0:
		return fmt.Errorf("mode %q makes the file executable, which an audit file must not be", value)
	case o.Mode != 0 && o.Mode&0o200 == 0:
		return fmt.Errorf("mode %q does not let the owner write", value)
	}
	return nil
}

func (o *Options) setSwitch(name, value string) error {
	if value == "" {
		return nil
	}
	on, err := strconv.ParseBool(strings.ToLower(value))
	switch {
	case err != nil:
		return fmt.Errorf("%s=%q is neither true nor false", name, value)
	case name == "log_raw" && on:
		return fmt.Errorf("log_raw is refused: secrets are on no record, and other values are written only as HMAC")
	case name == "hmac_accessor":
		o.PlainAccessor = !on
	}
	// elide_list_responses says nothing here: what a list answers is on no record.
	return nil
}

// Executable reports whether a file of that mode could be run.
func Executable(mode fs.FileMode) bool { return mode&executable != 0 }
