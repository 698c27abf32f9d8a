package enginetest

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/lease"
)

func openFake(testing.TB) Harness {
	f := NewFake(FakeConfig{})
	f.AddTarget(engine.Target{ID: "t1", MountID: "m1", Mount: "database/", Name: "db"})
	f.AddRole("good", FakeRole{MountID: "m1", Target: "t1"})
	f.AddRole("bad", FakeRole{MountID: "m1", Target: "t1", Refused: true})
	return Harness{
		Engine: f, MountID: "m1", Mount: "database/",
		Path: "creds/good", BadPath: "creds/bad", Target: f.Probe("t1"),
	}
}

func TestFakeConforms(t *testing.T) {
	t.Parallel()
	Run(t, openFake)
}

func TestFaultBeforeChangesNothing(t *testing.T) {
	t.Parallel()
	h := openFake(t)
	f := h.Engine.(*Fake)
	heal := f.Inject(Fault{Method: MethodCreate})
	i := plan(t, h, h.Path)
	for range 2 {
		out := f.Create(t.Context(), "t1", []engine.Creation{i.creation()})
		wantKind(t, out[0].Err, nil, engine.Unreachable)
		wantExists(t, h, i.name(), false)
	}
	heal()
	create(t, h, i)
	if got := f.Calls(MethodCreate); got != 3 {
		t.Errorf("%d calls counted, want 3", got)
	}
}

func TestFaultAfterKeepsTheEffect(t *testing.T) {
	t.Parallel()
	h := openFake(t)
	f := h.Engine.(*Fake)
	i, j := issue(t, h), issue(t, h)
	f.Inject(Fault{
		Method: MethodRemove, Account: j.name(), After: true, Times: 1,
		Err: &engine.Error{Kind: engine.Refused, Message: "no"},
	})
	leases := revoke(t, h, i, j)
	out := f.Remove(t.Context(), "t1", leases)
	if !out[0].Gone || out[1].Gone {
		t.Errorf("outcomes %+v, want only the first gone", out)
	}
	wantKind(t, out[1].Err, nil, engine.Refused)
	wantExists(t, h, j.name(), false)
	remove(t, h, leases)
}

// Not done, and done without an answer: who sets a mark has to live with both.
func TestFaultsOfMarks(t *testing.T) {
	t.Parallel()
	h := openFake(t)
	f := h.Engine.(*Fake)
	m := marker(t, h)
	set := func(was, now string) error { return f.SetMark(t.Context(), "t1", was, now) }
	f.Inject(Fault{Method: MethodSetMark, Times: 1})
	wantKind(t, set("", "a"), nil, engine.Unreachable)
	m.want(t, "not done", "")
	f.Inject(Fault{Method: MethodSetMark, After: true, Times: 1})
	wantKind(t, set("", "a"), nil, engine.Unreachable)
	m.want(t, "done but not answered", "a")
	wantKind(t, set("", "a"), nil, engine.Conflict)
	heal := f.Inject(Fault{Method: MethodMark})
	_, err := f.Mark(t.Context(), "t1")
	wantKind(t, err, nil, engine.Unreachable)
	heal()
	f.Probe("t1").Remark("of a copy")
	wantKind(t, set("a", "b"), nil, engine.Conflict)
	m.want(t, "a copy was here", "of a copy")
	if got := f.Calls(MethodSetMark); got != 4 {
		t.Errorf("%d calls counted, want 4", got)
	}
}

func TestFaultHoldsACall(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := openFake(t)
		f := h.Engine.(*Fake)
		i := issue(t, h)
		leases := revoke(t, h, i)
		open := make(chan struct{})
		reached := make(chan struct{}, 1)
		f.Inject(Fault{Method: MethodDisable, Wait: open, Reached: reached, Times: 1})
		done := make(chan []engine.Outcome)
		go func() { done <- f.Disable(t.Context(), "t1", leases) }()
		<-reached
		synctest.Wait()
		wantLogin(t, h, i.name(), i.password(t), true)
		close(open)
		if out := <-done; !disabled(out[0]) {
			t.Errorf("outcome %+v, want disabled", out[0])
		}

		f.Inject(Fault{Method: MethodRemove, Wait: make(chan struct{})})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		out := f.Remove(ctx, "t1", leases)
		wantKind(t, out[0].Err, nil, engine.Unreachable)
	})
}

func TestFakeClosesLoginsAtExpiry(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := openFake(t)
		i := issue(t, h)
		time.Sleep(term + fakeMargin - time.Nanosecond) // of the bubble's clock
		wantLogin(t, h, i.name(), i.password(t), true)
		time.Sleep(time.Nanosecond)
		wantLogin(t, h, i.name(), i.password(t), false)
	})
}

func TestFakeKeepsConfiguration(t *testing.T) {
	t.Parallel()
	h := openFake(t)
	ask := func(op engine.Operation, path string, data map[string]any) (*engine.Response, error) {
		r := request(h, op, path, lease.ID(""))
		r.Data = data
		return h.Engine.Handle(t.Context(), r)
	}
	if _, err := ask(engine.List, "roles", nil); engine.AsError(err).Kind != engine.NotFound {
		t.Errorf("empty list: %v, want not found", err)
	}
	if _, err := ask(engine.Write, "roles/a", map[string]any{"x": "y"}); err != nil {
		t.Fatal(err)
	}
	if r, err := ask(engine.Read, "roles/a", nil); err != nil || r.Data["x"] != "y" {
		t.Errorf("read %v, %v", r, err)
	}
	if r, err := ask(engine.List, "roles", nil); err != nil || len(r.Data["keys"].([]string)) != 1 {
		t.Errorf("list %v, %v", r, err)
	}
	if _, err := ask(engine.Delete, "roles/a", nil); err != nil {
		t.Fatal(err)
	}
	if _, err := ask(engine.Read, "roles/a", nil); engine.AsError(err).Kind != engine.NotFound {
		t.Errorf("deleted: %v, want not found", err)
	}
	if _, err := ask(engine.Read, "nonsense/a", nil); engine.AsError(err).Kind != engine.UnsupportedPath {
		t.Errorf("nonsense: %v, want unsupported path", err)
	}
	if _, err := ask(engine.Write, "roles", nil); engine.AsError(err).Kind != engine.UnsupportedOperation {
		t.Errorf("write of a list: %v, want unsupported operation", err)
	}
}
