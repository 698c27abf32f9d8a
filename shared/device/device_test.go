package device_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/curfew-project/curfew/shared/device"
	"github.com/curfew-project/curfew/shared/store"
)

// What stock clients send is taken; what would weaken the record is refused and
// says why.
func TestOptions(t *testing.T) {
	t.Parallel()
	for given, c := range map[string]struct {
		want device.Options
		fail string
	}{
		"file_path=/var/log/vault_audit.log": {want: device.Options{Path: "/var/log/vault_audit.log", Mode: 0o600}},
		"path=/a":                            {want: device.Options{Path: "/a", Mode: 0o600}},
		"file_path=/a mode=0640 hmac_accessor=false format=json log_raw=false elide_list_responses=true prefix=": {
			want: device.Options{Path: "/a", Mode: 0o640, PlainAccessor: true},
		},
		"file_path=/a mode=0000":           {want: device.Options{Path: "/a"}},
		"":                                 {fail: "file_path is required"},
		"file_path=":                       {fail: "file_path is required"},
		"file_path=/a path=/b":             {fail: "different values"},
		"file_path=stdout":                 {fail: "not supported"},
		"file_path=discard":                {fail: "not supported"},
		"file_path=/a/":                    {fail: "names a directory"},
		"file_path=/a\x1b":                 {fail: "control character"},
		"file_path=/a mode=0755":           {fail: "executable"},
		"file_path=/a mode=0601":           {fail: "executable"},
		"file_path=/a mode=0400":           {fail: "does not let the owner write"},
		"file_path=/a mode=4600":           {fail: "not an octal number"},
		"file_path=/a mode=rw":             {fail: "not an octal number"},
		"file_path=/a prefix=@cee:":        {fail: "prefix is not supported"},
		"file_path=/a log_raw=true":        {fail: "log_raw is refused"},
		"file_path=/a log_raw=perhaps":     {fail: "neither true nor false"},
		"file_path=/a format=jsonx":        {fail: "unknown format"},
		"file_path=/a socket_type=unix":    {fail: `unknown option "socket_type"`},
		"file_path=/a fallback=true":       {fail: `unknown option "fallback"`},
		"file_path=/a hmac_accessor=never": {fail: "neither true nor false"},
	} {
		options := map[string]string{}
		for _, pair := range strings.Fields(given) {
			name, value, _ := strings.Cut(pair, "=")
			options[name] = value
		}
		got, err := device.ParseOptions(options)
		if c.fail == "" && (err != nil || got != c.want) {
			t.Errorf("%q: %+v, %v; want %+v", given, got, err, c.want)
		}
		if c.fail != "" && (err == nil || !strings.Contains(err.Error(), c.fail)) {
			t.Errorf("%q: %v; want %q", given, err, c.fail)
		}
	}
}

// Law: no mode that is taken lets anybody run the file.
func TestNeverExecutable(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		mode := rapid.Uint32Range(0, 0o7777).Draw(t, "mode")
		o, err := device.ParseOptions(map[string]string{"file_path": "/a", "mode": fmt.Sprintf("%04o", mode)})
		if err == nil && device.Executable(o.Mode) {
			t.Fatalf("mode %o was taken", mode)
		}
		if (err == nil) != (mode <= 0o777 && mode&0o111 == 0 && (mode == 0 || mode&0o200 != 0)) {
			t.Fatalf("mode %o: %v", mode, err)
		}
	})
}

// The hash is the one that stock servers document, so that it can be made by
// other tools too; the key shows nowhere.
func TestHash(t *testing.T) {
	t.Parallel()
	key := []byte("0123456789abcdef0123456789abcdef")
	h := device.NewHasher(key)
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte("hello"))
	if want := "hmac-sha256:" + hex.EncodeToString(mac.Sum(nil)); h.Hash("hello") != want {
		t.Errorf("%s, want %s", h.Hash("hello"), want)
	}
	if h.Hash("") != "" {
		t.Error("the empty text has a hash")
	}
	if text := fmt.Sprintf("%v %+v %#v", h, h, h); strings.Contains(text, string(key)) || strings.Contains(text, hex.EncodeToString(key)) {
		t.Errorf("the key shows: %s", text)
	}
	if one, two := device.NewKey(), device.NewKey(); device.NewHasher(one).Hash("hello") == device.NewHasher(two).Hash("hello") {
		t.Error("two devices have one key")
	}
	if device.TokenMark("auth/token/create/h12") != "h12" || device.TokenMark("") != "" {
		t.Error("a token's mark is not the end of its lease's id")
	}
}

// An entry keeps what was put into it.
func TestEntry(t *testing.T) {
	t.Parallel()
	d := device.Device{Type: device.TypeFile, Options: map[string]string{"file_path": "/a"}, Key: []byte{1}, State: device.Enabling}
	e, err := device.Put(store.Entry{Key: device.Key("/file/")}, d)
	if err != nil || e.Kind != store.KindAudit || e.Key != "file/" {
		t.Fatalf("%+v, %v", e, err)
	}
	if back, err := device.Decode(e); err != nil || back.State != d.State || back.Options["file_path"] != "/a" || string(back.Key) != "\x01" {
		t.Errorf("%+v, %v", back, err)
	}
	e.Value = []byte("{")
	if _, err := device.Decode(e); err == nil {
		t.Error("half an entry was read")
	}
}
