package tokens

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/curfew-project/curfew/shared/device"
	"github.com/curfew-project/curfew/shared/secret"
	"github.com/curfew-project/curfew/shared/store"
)

// Mark is what stands for the text of a token on record ([device.TokenMark]).
// known is false for a text that is no token's: one that begins as tokens do is
// taken for one that has ended.
func (g *Registry) Mark(ctx context.Context, text secret.Value) (mark string, known bool, err error) {
	if text.Empty() {
		return "", false, nil
	}
	marks, err := g.marks(text)
	if err != nil {
		return "", false, err
	}
	for _, m := range marks {
		l, err := g.marked(ctx, m, isLogin(text))
		if err == nil {
			return device.TokenMark(l.ID), true, nil
		}
		if !errors.Is(err, store.ErrNotFound) {
			return "", false, fmt.Errorf("look up token: %w", err)
		}
	}
	if strings.HasPrefix(text.Reveal(), prefix) {
		return device.TokenMark(marks[0].id("")), true, nil
	}
	return "", false, nil
}
