package story

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/curfew-project/curfew/services/demo/internal/stage"
	"github.com/curfew-project/curfew/shared/clock"
)

// Times of the role and of the renewal: long enough to be read, and for a slow
// machine to get from one step to the next.
const (
	defaultTTL = 20 * time.Second
	maxTTL     = 2 * time.Minute
	increment  = 25 * time.Second
)

// story is one walk.
type story struct {
	*teller
	stage *stage.Stage
	clock clock.Clock

	first, second credential // to be revoked; to expire
	session       *session   // of the second
	last          int64      // number of the last entry of either
}

type step struct {
	title string
	do    func(context.Context) error
}

func (s *story) steps() []step {
	return []step{
		{"Enable the database engine", s.enable},
		{"Tell Curfew where the database is", s.configure},
		{"Define a role: what an account may do, and for how long", s.role},
		{"Issue two credentials", s.issue},
		{"Log in with one of them", s.login},
		{"Renew it", s.renew},
		{"Revoke the other", s.revoke},
		{"Let the renewed one expire while its session is open", s.expire},
		{"Look at the record", s.record},
		{"Verify the record", s.verify},
	}
}

// Tell walks through the whole story and returns the first thing that did not
// hold.
func Tell(ctx context.Context, st *stage.Stage, c clock.Clock, out io.Writer) (err error) {
	s := &story{teller: &teller{out: out}, stage: st, clock: c}
	defer func() { //nolint:contextcheck // a close happens also where ctx has ended
		if s.session != nil {
			err = errors.Join(err, s.session.close())
		}
		err = errors.Join(err, s.failed)
	}()
	began := c.Now()
	s.open()
	steps := s.steps()
	for i, step := range steps {
		s.heading(i+1, len(steps), step.title)
		if err := step.do(ctx); err != nil {
			return fmt.Errorf("step %d (%s): %w", i+1, step.title, err)
		}
	}
	s.say("", fmt.Sprintf("Both credentials are gone, and the record of it holds. The walk took %s.", c.Now().Sub(began).Round(time.Second)))
	return nil
}

// open says what the stage is.
func (s *story) open() {
	st := s.stage
	s.say("This is the life of two database credentials, from the request to the proof",
		"that they are gone. Everything runs on this machine, on free ports and below",
		st.Dir+", and is removed at the end.",
		"",
		"The target is a Postgres of the demo's own, at "+st.Target.Address()+":",
		st.Programs.String(),
		"Its administrator has prepared it once, and has no more to do:",
		"")
	for _, sql := range st.Target.Setup() {
		s.quote(sql + ";")
	}
	s.server()
	s.say("", "The commands below are run in "+st.Dir+",", "with the address and the root token in CURFEW_ADDR and CURFEW_TOKEN.")
}

// server says what Curfew is here.
func (s *story) server() {
	server := s.stage.Server
	if server.Parts == nil {
		s.say("",
			fmt.Sprintf("Curfew is one process, %d, with store, event stream and audit log embedded:", server.Pid),
			"")
		s.quote("$ curfew server -config=" + server.Config)
		s.quote("==> " + server.URL)
		return
	}
	s.say("",
		"Curfew is what would run on many machines, each part a process here, with its",
		"configuration and its log in "+server.Data+". Issuers stand",
		"behind a proxy; the store is a Postgres of its own, not the target:",
		"")
	lines := slices.Collect(slices.Chunk(server.Parts, 7))
	for i, line := range lines {
		text := strings.Join(line, ", ")
		if i < len(lines)-1 {
			text += ","
		}
		s.quote(text)
	}
	s.quote("==> " + server.URL)
}
