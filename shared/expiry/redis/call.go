package redis

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"

	goredis "github.com/redis/go-redis/v9"
)

// calls is how many scripts are sent together: the answers of a pipeline are
// held in memory until the last has come.
const calls = 64

// call is one run of a script.
type call struct {
	keys []string
	args []any
}

// answer is what became of a call.
type answer struct {
	values []any
	err    error
}

var errUnanswered = errors.New("no answer")

// run runs a script once for each call; the answers are in the same order. A
// server that does not know the script, after a failover or SCRIPT FLUSH, gets
// its source.
func (x *Index) run(ctx context.Context, s *goredis.Script, all []call) []answer {
	answers := make([]answer, len(all))
	for from := 0; from < len(all); from += calls {
		to := min(from+calls, len(all))
		x.pipeline(ctx, s, all[from:to], answers[from:to])
	}
	return answers
}

func (x *Index) pipeline(ctx context.Context, s *goredis.Script, batch []call, answers []answer) {
	ctx, cancel := context.WithTimeout(ctx, x.timeout)
	defer cancel()
	missing := x.exec(ctx, batch, answers, everyOne(len(batch)), func(p goredis.Pipeliner, c call) *goredis.Cmd {
		return s.EvalSha(ctx, p, c.keys, c.args...)
	})
	if len(missing) > 0 {
		x.exec(ctx, batch, answers, missing, func(p goredis.Pipeliner, c call) *goredis.Cmd {
			return s.Eval(ctx, p, c.keys, c.args...)
		})
	}
}

func everyOne(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}

// exec sends the chosen calls in one pipeline and notes their answers; it
// returns those whose script the server does not know.
func (x *Index) exec(ctx context.Context, batch []call, answers []answer, chosen []int,
	send func(goredis.Pipeliner, call) *goredis.Cmd,
) (missing []int) {
	pipe := x.client.Pipeline()
	cmds := make([]*goredis.Cmd, len(chosen))
	for i, k := range chosen {
		cmds[i] = send(pipe, batch[k])
	}
	_, failed := pipe.Exec(ctx)
	for i, k := range chosen {
		v, err := cmds[i].Result()
		switch {
		case err == nil && v == nil: // it was not sent, as where the login fails
			err = cmp.Or(failed, errUnanswered)
		case errors.Is(err, goredis.Nil): // a script without a result
			err = nil
		}
		if goredis.HasErrorPrefix(err, "NOSCRIPT") {
			missing = append(missing, k)
		}
		values, _ := v.([]any)
		answers[k] = answer{values: values, err: err}
	}
	return missing
}

// one runs a script once.
func (x *Index) one(ctx context.Context, s *goredis.Script, keys []string, args ...any) ([]any, error) {
	a := x.run(ctx, s, []call{{keys: keys, args: args}})[0]
	return a.values, a.err
}

func text(v any) (string, error) {
	switch v := v.(type) {
	case string:
		return v, nil
	case int64:
		return strconv.FormatInt(v, 10), nil
	}
	return "", fmt.Errorf("unexpected answer of type %T", v)
}

// standing is where a target stands after a script: its earliest due time and
// how many claims it has.
type standing struct {
	target, first, claims string
}

func (s standing) empty() bool { return s.first == none && s.claims == "0" }

// number is a whole number of an answer.
func number(v any) (int, error) {
	n, ok := v.(int64)
	if !ok {
		return 0, fmt.Errorf("unexpected answer of type %T", v)
	}
	return int(n), nil
}

// stands reads a target's standing; want is how many values the answer has.
func stands(target string, a answer, want int) (standing, error) {
	if a.err != nil {
		return standing{}, a.err
	}
	if len(a.values) != want {
		return standing{}, fmt.Errorf("unexpected answer of %d values", len(a.values))
	}
	first, err := text(a.values[0])
	if err != nil {
		return standing{}, err
	}
	claims, err := text(a.values[1])
	return standing{target: target, first: first, claims: claims}, err
}
