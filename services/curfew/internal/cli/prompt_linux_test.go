package cli_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// openTerminal returns the two ends of a pseudo-terminal.
func openTerminal(t *testing.T) (keyboard, terminal *os.File) {
	t.Helper()
	keyboard, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo-terminals here: %v", err)
	}
	t.Cleanup(func() { _ = keyboard.Close() })
	if err := unix.IoctlSetPointerInt(int(keyboard.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(int(keyboard.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = terminal.Close() })
	return keyboard, terminal
}

func echoes(t *testing.T, terminal *os.File) bool {
	t.Helper()
	settings, err := unix.IoctlGetTermios(int(terminal.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return settings.Lflag&unix.ECHO != 0
}

// A token typed at the terminal is stored and never shown, and the terminal
// echoes again afterwards.
func TestLoginAsksWithoutEcho(t *testing.T) {
	t.Parallel()
	keyboard, terminal := openTerminal(t)
	home := t.TempDir()
	var stdout, stderr bytes.Buffer
	p := program{
		env: map[string]string{
			"HOME":        home,
			"CURFEW_ADDR": answer(t, `{"data":{"id":"s.typed","policies":["root"]}}`),
		},
		stdin: terminal, stdout: &stdout, stderr: &stderr,
	}
	code := make(chan int, 1)
	go func() { code <- p.run(t.Context(), []string{"login", "-no-print"}) }()

	for deadline := time.Now().Add(time.Minute); echoes(t, terminal); {
		if time.Now().After(deadline) {
			t.Fatal("the terminal still echoes")
		}
		time.Sleep(time.Millisecond)
	}
	if _, err := keyboard.WriteString("s.typed\n"); err != nil {
		t.Fatal(err)
	}
	if got := <-code; got != 0 {
		t.Errorf("exit code %d, want 0: %s", got, stderr.String())
	}
	if !echoes(t, terminal) {
		t.Error("the terminal was left without echo")
	}
	stored, err := os.ReadFile(home + "/.curfew-token")
	if err != nil || string(stored) != "s.typed" {
		t.Errorf("stored %q, %v", stored, err)
	}
	if err := terminal.Close(); err != nil {
		t.Fatal(err)
	}
	shown := make([]byte, 4096)
	n, _ := keyboard.Read(shown) // an error says that nothing was shown
	all := string(shown[:n]) + stdout.String() + stderr.String()
	if strings.Contains(all, "typed") {
		t.Errorf("the token was shown: %q", all)
	}
	if !strings.HasPrefix(stderr.String(), "Token (will be hidden): ") {
		t.Errorf("stderr %q", stderr.String())
	}
}

// On a terminal a field ends in a newline, so that the prompt does not follow
// the password.
func TestFieldEndsInANewlineOnATerminal(t *testing.T) {
	t.Parallel()
	keyboard, terminal := openTerminal(t)
	p := program{
		env:    map[string]string{"CURFEW_ADDR": answer(t, `{"data":{"password":"x"}}`)},
		stdout: terminal, stderr: &bytes.Buffer{},
	}
	if code := p.run(t.Context(), []string{"read", "-field=password", "a"}); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	shown := make([]byte, 16)
	n, err := io.ReadAtLeast(keyboard, shown, len("x\r\n")) // a terminal may give it in parts
	if err != nil || string(shown[:n]) != "x\r\n" {
		t.Errorf("shown %q, %v", shown[:n], err)
	}
}
