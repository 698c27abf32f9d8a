package jetstream

import (
	"os"
	"strings"
	"testing"
)

// The package comment lists every permission: operators copy it from there.
func TestPermissionsAreDocumented(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, subject := range append(PublisherMayPublish(), ConsumerMayPublish()...) {
		if !strings.Contains(string(doc), subject) {
			t.Errorf("doc.go does not list %s", subject)
		}
	}
}
