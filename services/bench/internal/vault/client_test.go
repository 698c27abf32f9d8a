package vault

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/curfew-project/curfew/shared/secret"
)

func TestClient(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		switch {
		case r.Header.Get("X-Vault-Token") != "hidden":
			w.WriteHeader(http.StatusForbidden)
		case r.Method == http.MethodPut && r.URL.Path == "/v1/sys/leases/lookup" && string(body) == `{"lease_id":"a/b"}`:
			_, _ = io.WriteString(w, `{"lease_id":"","data":{"expire_time":"2026-01-02T03:04:05.5Z","id":"a/b"}}`)
		case r.Method == "LIST":
			_, _ = io.WriteString(w, `{"data":{"keys":["x","y"]}}`)
		case r.Method == http.MethodDelete:
			w.WriteHeader(http.StatusNoContent)
		default:
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, `{"errors":["no","never"]}`)
		}
	}))
	t.Cleanup(srv.Close)
	c := New(srv.URL+"/", secret.New("hidden"))
	a, err := c.Do(t.Context(), http.MethodPut, "sys/leases/lookup", map[string]any{"lease_id": "a/b"})
	if err != nil || !a.Data.ExpireTime.Equal(time.Date(2026, 1, 2, 3, 4, 5, 5e8, time.UTC)) {
		t.Errorf("lookup: %+v, %v", a, err)
	}
	if a, err = c.Do(t.Context(), "LIST", "x", nil); err != nil || len(a.Data.Keys) != 2 {
		t.Errorf("list: %+v, %v", a, err)
	}
	if _, err = c.Do(t.Context(), http.MethodDelete, "x", nil); err != nil {
		t.Errorf("an answer without content: %v", err)
	}
	_, err = c.Do(t.Context(), http.MethodGet, "x", nil)
	status, ok := errors.AsType[*StatusError](err)
	if !ok || status.Status != http.StatusBadRequest || status.Text != "no; never" {
		t.Errorf("refused with %v", err)
	}
	if _, err = New(srv.URL, secret.New("")).Do(t.Context(), http.MethodGet, "x", nil); err == nil || strings.Contains(err.Error(), "hidden") {
		t.Errorf("without a token: %v", err)
	}
}
