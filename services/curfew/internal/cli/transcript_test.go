package cli_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/curfew-project/curfew/services/curfew/internal/cli"
)

// now is the clock of every test.
var now = time.Date(2026, 11, 21, 23, 35, 0, 0, time.UTC)

func TestMain(m *testing.M) {
	// The client library looks at the process's own environment as well.
	for _, variable := range os.Environ() {
		if name, _, _ := strings.Cut(variable, "="); strings.HasPrefix(name, "VAULT_") {
			if err := os.Unsetenv(name); err != nil {
				panic(err)
			}
		}
	}
	os.Exit(m.Run())
}

// TestTranscripts replays recorded conversations of the stock CLI with a
// server. Each script names the exchanges of the next command (wire), runs it
// (curfew, the wanted exit code first, "<file" last for standard input), and
// compares what it prints. A script fails where a command sends anything but
// the recorded requests, in order and all of them.
//
// The conversations are those of the wire recordings; only the name of the
// program in its own sentences differs, and tokens and ids are shorter.
func TestTranscripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("HOME", filepath.Join(env.WorkDir, "home"))
			env.Setenv("VAULT_TOKEN", "s.root")
			replay := &replayServer{}
			server := httptest.NewServer(replay)
			env.Defer(server.Close)
			env.Setenv("ADDR", server.URL)
			env.Setenv("HOSTPORT", server.Listener.Addr().String())
			env.Setenv("VAULT_ADDR", server.URL)
			env.Values["replay"] = replay
			return os.Mkdir(env.Getenv("HOME"), 0o700)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"wire":   cmdWire,
			"curfew": cmdCurfew,
			"mode":   cmdMode,
		},
	})
}

// cmdWire loads the exchanges that the next curfew command is to have.
func cmdWire(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: wire file")
	}
	exchanges, err := parseExchanges(ts.ReadFile(args[0]))
	ts.Check(err)
	replayOf(ts).load(exchanges)
}

// cmdCurfew runs the program in this process.
func cmdCurfew(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: curfew exit-code [args...] [<stdin]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	args = args[1:]
	stdin := ""
	if last := len(args) - 1; last >= 0 && strings.HasPrefix(args[last], "<") {
		stdin, args = ts.ReadFile(args[last][1:]), args[:last]
	}
	for i, arg := range args { // files are named relative to the script's directory
		if name, ok := strings.CutPrefix(arg, "@"); ok {
			args[i] = "@" + ts.MkAbs(name)
		} else if key, name, ok := strings.Cut(arg, "=@"); ok {
			args[i] = key + "=@" + ts.MkAbs(name)
		}
	}
	got := cli.Run(context.Background(), args, cli.IO{
		Stdin: strings.NewReader(stdin), Stdout: ts.Stdout(), Stderr: ts.Stderr(),
		Getenv: ts.Getenv,
		Now:    func() time.Time { return now },
		Wait:   func(context.Context, time.Duration) error { return nil },
	})
	ts.Check(replayOf(ts).finish())
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// cmdMode checks a file's permission bits.
func cmdMode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: mode 0600 file")
	}
	info, err := os.Stat(ts.MkAbs(args[1]))
	ts.Check(err)
	if got := fmt.Sprintf("%04o", info.Mode().Perm()); got != args[0] {
		ts.Fatalf("mode %s, want %s", got, args[0])
	}
}

func replayOf(ts *testscript.TestScript) *replayServer { return ts.Value("replay").(*replayServer) }

// exchange is one request and its answer. In a file:
//
//	> PUT /v1/sys/leases/lookup
//	> X-Vault-Token: s.root
//	> {"lease_id": "a/b"}
//	< 200 OK
//	{"data": {}}
type exchange struct {
	method, uri string
	headers     map[string]string
	body        string
	status      int
	answerType  string
	answer      string
}

var (
	requestLine = regexp.MustCompile(`^[A-Z]+ /\S*\n$`)
	headerLine  = regexp.MustCompile(`^[A-Z][A-Za-z-]+: `)
)

func parseExchanges(text string) ([]exchange, error) {
	var all []exchange
	var x *exchange
	for line := range strings.Lines(text) {
		request, isRequest := strings.CutPrefix(line, "> ")
		status, isStatus := strings.CutPrefix(line, "< ")
		switch {
		case isRequest && requestLine.MatchString(request):
			all = append(all, exchange{headers: map[string]string{}})
			x = &all[len(all)-1]
			x.method, x.uri, _ = strings.Cut(strings.TrimSpace(request), " ")
		case x == nil:
			return nil, fmt.Errorf("not an exchange: %q", line)
		case isRequest && headerLine.MatchString(request):
			name, value, _ := strings.Cut(strings.TrimSpace(request), ": ")
			x.headers[name] = value
		case isRequest:
			x.body += request
		case isStatus:
			code, kind, _ := strings.Cut(strings.TrimSpace(status), " ")
			n, err := strconv.Atoi(code)
			if err != nil {
				return nil, err
			}
			x.status, x.answerType = n, kind
		default:
			x.answer += line
		}
	}
	return all, nil
}

// replayServer answers the exchanges it is loaded with, in order, and remembers
// the first request that was not the recorded one.
type replayServer struct {
	mu   sync.Mutex
	left []exchange
	err  error
}

func (s *replayServer) load(exchanges []exchange) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.left, s.err = exchanges, nil
}

func (s *replayServer) finish() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil && len(s.left) > 0 {
		s.err = fmt.Errorf("never sent: %s %s", s.left[0].method, s.left[0].uri)
	}
	return s.err
}

func (s *replayServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.left) == 0 {
		s.err = fmt.Errorf("one request too many: %s %s", r.Method, r.RequestURI)
		http.Error(w, s.err.Error(), http.StatusTeapot)
		return
	}
	x := s.left[0]
	s.left = s.left[1:]
	if err := x.matches(r); err != nil && s.err == nil {
		s.err = err
	}
	if x.answerType != "" {
		w.Header().Set("Content-Type", x.answerType)
	}
	w.WriteHeader(x.status)
	_, _ = io.WriteString(w, x.answer)
}

// matches compares the request line, every header that carries meaning, and the
// body as JSON.
func (x exchange) matches(r *http.Request) error {
	if r.Method != x.method || r.RequestURI != x.uri {
		return fmt.Errorf("sent %s %s, want %s %s", r.Method, r.RequestURI, x.method, x.uri)
	}
	if r.Header.Get("X-Vault-Request") != "true" {
		return fmt.Errorf("%s %s: no X-Vault-Request header", x.method, x.uri)
	}
	sent := map[string]string{}
	for name := range r.Header {
		if strings.HasPrefix(name, "X-Vault-") && name != "X-Vault-Request" ||
			slices.Contains([]string{"Accept", "Content-Type", "Last-Event-Id"}, name) {
			sent[name] = r.Header.Get(name)
		}
	}
	if !maps.Equal(sent, x.headers) {
		return fmt.Errorf("%s %s: headers %v, want %v", x.method, x.uri, sent, x.headers)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	if !sameJSON(string(body), x.body) {
		return fmt.Errorf("%s %s: body %s, want %s", x.method, x.uri, body, x.body)
	}
	return nil
}

func sameJSON(a, b string) bool {
	if a == "" || b == "" {
		return a == b
	}
	var x, y any
	return json.Unmarshal([]byte(a), &x) == nil && json.Unmarshal([]byte(b), &y) == nil && reflect.DeepEqual(x, y)
}
