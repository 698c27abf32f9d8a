// Command servers finds the programs of Postgres and Redis as the tests and
// the demo will, and prints where they are. With -install it may install
// them. It exits with 2, and one line for each way, when one is missing.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/curfew-project/curfew/shared/testkit/find"
)

func main() {
	install := flag.Bool("install", false, "install what is missing with apt, as root or with `sudo -n`")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	finder := find.Finder{Getenv: os.Getenv, Install: *install, Log: os.Stderr}
	code := 0
	for _, look := range []func(context.Context) (find.Programs, error){finder.Postgres, finder.Redis} {
		programs, err := look(ctx)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 2
			continue
		}
		fmt.Println(programs)
	}
	os.Exit(code)
}
