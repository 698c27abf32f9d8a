// Command curfew is the server and the client in one program.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/curfew-project/curfew/services/curfew/internal/cli"
	"github.com/curfew-project/curfew/services/curfew/internal/command"
	"github.com/curfew-project/curfew/services/internal/program"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	hangups, end := program.Hangups()
	code := cli.Run(ctx, os.Args[1:], cli.IO{
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv, Now: time.Now,
		Files: command.Files(os.LookupEnv),
	}, command.Server(os.LookupEnv, hangups), command.Verify())
	end()
	stop()
	os.Exit(code)
}
