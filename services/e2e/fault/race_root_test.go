//go:build e2e

package fault

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/curfew-project/curfew/shared/testkit/crashpoint"
)

// What the record says of a rotation (B11).
const (
	rotationBegun = "rotation begun"             // the new password is in the store
	rotationDone  = "rotated password confirmed" // it is the current one
)

// firstPassword is that of an admin that was just made.
const firstPassword = "first-password-of-an-admin"

// rooted makes a connection with an admin user of its own, and a role of it. Both
// have this name.
func (r *racing) rooted() (name string) {
	r.Helper()
	name = r.fresh("rooted")
	must(r, r.target.exec(r, "CREATE ROLE %s LOGIN CREATEROLE PASSWORD '%s'; GRANT pg_signal_backend TO %s; GRANT readers TO %s WITH ADMIN OPTION",
		name, firstPassword, name, name), "make an admin")
	of := role(longTTL)
	of["db_name"] = name
	c := r.client(r)
	for _, x := range []struct {
		path string
		data map[string]any
	}{{"config/" + name, r.target.connection(r, name, firstPassword)}, {"roles/" + name, of}} {
		r.insist(r.T, "write "+x.path, func() error {
			_, err := c.Logical().WriteWithContext(r.ctx, "database/"+x.path, x.data)
			return err
		})
	}
	return name
}

// rotationSteps finds the outbound calls of a rotation: those of the engine and
// what calls it that come about each time that one is done.
func (r *racing) rotationSteps() {
	c := r.client(r)
	for i := range 2 {
		name := r.rooted()
		must(r, r.control.Forget(), "forget the hits")
		_, err := c.Logical().WriteWithContext(r.ctx, "database/rotate-root/"+name, nil)
		must(r, err, "rotate the admin's password")
		hits := r.hits(r.T)
		if i == 0 {
			r.steps = hits
		}
		r.steps = slices.DeleteFunc(r.steps, func(step string) bool {
			return !slices.Contains(hits, step) || !strings.HasPrefix(step, "shared/engine/database") && !strings.HasPrefix(step, "issuer/internal/api.API.engine")
		})
		r.finished(name)
	}
	slices.Sort(r.steps)
	r.Logf("a rotation makes %d calls: %s", len(r.steps), strings.Join(r.steps, "; "))
	// B11: (1) the store is written, (2) the target's user is altered and (3) logs
	// in, (4) the store is written.
	for _, step := range []string{"Engine.put store.Write", "Engine.alone store.Acquire", "target."} {
		if !slices.ContainsFunc(r.steps, func(s string) bool { return strings.Contains(s, step) }) {
			r.Errorf("no call of %s is among them", step)
		}
	}
}

// rotation kills whoever rotates an admin's password before or after one of its
// outbound calls, or takes the call's answer away. The connection works
// afterwards, whichever password the target has; it has the new one only if the
// record says that it was committed before (B11).
func (r *racing) rotation() {
	modes := crashpoint.Modes(true)
	step := r.steps[(r.round-1)/len(modes)%len(r.steps)]
	mode := modes[(r.round-1)%len(modes)]
	if mode == crashpoint.Lost && !r.lossy()[crashpoint.Name(step)] {
		mode = modes[0]
	}
	plan := crashpoint.Plan{Point: step, Mode: mode}
	name, c := r.rooted(), r.client(r)
	for range 4 { // sessions are there already, of each issuer: the next login is that of the new password
		cred, err := r.issue(r.ctx, c, "database/creds/"+name)
		must(r, err, "issue by "+name)
		r.book.asks(cred)
	}
	must(r, r.control.Arm(plan), "arm "+plan.String())
	_, err := c.Logical().WriteWithContext(r.ctx, "database/rotate-root/"+name, nil)
	fired := soon(firesWithin, func() bool { return len(r.fired(r.T)) > 0 })
	time.Sleep(2 * pace) // who took it dies at once, unless only an answer was lost
	must(r, r.control.Disarm(), "disarm")
	r.again(r.T)
	what := fmt.Sprintf("%s, answered %t", mode, err == nil)
	if !fired {
		what = "nobody came by"
		r.Errorf("%s: nobody came by", plan)
	}
	r.count(what)
	r.count(fmt.Sprintf("the target has the new password: %t", refused(r.target.login(r.ctx, name, firstPassword))))
	r.finished(name)
	if r.Failed() {
		r.Logf("after %s: %v", plan, err)
	}
}

// finished: the connection works, and what the target takes is what the record
// tells. Then the connection is removed.
func (r *racing) finished(name string) {
	r.Helper()
	c := r.client(r)
	var cred credential
	// A session that is open does not ask for a password.
	r.insist(r.T, "log in anew by "+name, func() error {
		_, err := c.Logical().WriteWithContext(r.ctx, "database/reset/"+name, nil)
		return err
	})
	r.insist(r.T, "issue by "+name, func() (err error) {
		cred, err = r.issue(r.ctx, c, "database/creds/"+name)
		return err
	})
	r.works(cred, "its admin's password was rotated")
	r.book.asks(cred)
	r.insist(r.T, "revoke by "+name, func() error { return revoke(r.ctx, c, cred, true) })
	r.book.ends(cred)
	rotated := refused(r.target.login(r.ctx, name, firstPassword))
	var told []string
	if !soon(cleanWithin, func() bool {
		var err error
		told, err = r.rotations(name)
		return err == nil && slices.Equal(told, []string{rotationBegun, rotationDone}[:len(told)]) && rotated == (len(told) == 2)
	}) {
		r.Errorf("the target has a new password for %s: %t; the record says %q", name, rotated, told)
	}
	for _, path := range []string{"roles/", "config/"} {
		r.insist(r.T, "remove "+path+name, func() error {
			_, err := c.Logical().DeleteWithContext(r.ctx, "database/"+path+name)
			return err
		})
	}
}

// rotations are what the record says of rotations of a connection.
func (r *racing) rotations(name string) (reasons []string, err error) {
	body, err := r.get(r, "/v1/audit/entries?"+url.Values{"type": {"config.changed"}, "limit": {"10000"}}.Encode())
	if err != nil {
		return nil, err
	}
	var got struct{ Data struct{ Entries []entry } }
	if err := json.Unmarshal(body, &got); err != nil {
		return nil, err
	}
	found := false
	for _, e := range got.Data.Entries {
		if !strings.HasSuffix(e.Subject, "config/"+name) {
			continue
		}
		found = true
		if strings.HasPrefix(e.Reason, "rotat") {
			reasons = append(reasons, e.Reason)
		}
	}
	if !found {
		err = errors.New("the record has nothing of it yet")
	}
	return reasons, err
}
