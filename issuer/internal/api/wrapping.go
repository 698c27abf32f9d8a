package api

import (
	"context"
	"net/http"

	"github.com/curfew-project/curfew/issuer/internal/request"
	"github.com/curfew-project/curfew/issuer/internal/wire"
	"github.com/curfew-project/curfew/issuer/internal/wrapping"
	"github.com/curfew-project/curfew/shared/secret"
)

const wrappingPath = wrapping.Mount

// opens reports whether path is about a wrapping token that is there already:
// its answer is what was wrapped, and is not wrapped again.
func opens(path string) bool {
	return path == wrappingPath+"lookup" || path == wrappingPath+"unwrap" || path == wrappingPath+"rewrap"
}

// opener reports whether h is from somebody who has a wrapping token and needs
// nothing else: it bears it, or bears nothing and sends it.
func opener(h *http.Request, path string) bool {
	text := request.Token(h)
	return opens(path) && (text.Empty() || wrapping.IsToken(text))
}

// unwrap serves who has a wrapping token, text where it is borne.
func (a *API) unwrap(ctx context.Context, r *request.Request, text secret.Value) (*wire.Answer, error) {
	if text.Empty() {
		sent, err := r.Fields().String("token")
		if err != nil || sent == "" {
			return nil, wire.Denied()
		}
		text = secret.New(sent)
	}
	r.Caller.Text = text
	return a.own(ctx, r)
}

// wrapped is the answer as r wants it.
func (a *API) wrapped(ctx context.Context, r *request.Request, answer *wire.Answer) (*wire.Answer, error) {
	if r.WrapTTL <= 0 {
		return answer, nil
	}
	return a.Wrapping.Wrap(ctx, r, answer)
}
