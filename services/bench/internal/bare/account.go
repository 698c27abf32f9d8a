package bare

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"
)

// Create is the text of creation statements, as a role has them, for one account.
// The password is random; what is written is its verifier.
func Create(statements []string, name, until string, iterations int) (string, error) {
	verifier, err := verifier(rand.Text(), iterations)
	if err != nil {
		return "", err
	}
	return strings.NewReplacer("{{name}}", name, "{{password}}", verifier, "{{expiration}}", until).
		Replace(strings.Join(statements, ";")), nil
}

// Disable closes logins.
func Disable(name string) string { return `ALTER ROLE "` + name + `" NOLOGIN` }

// Drop removes an account that owns nothing and is named in no table.
func Drop(name string) string { return `DROP ROLE "` + name + `"` }

// DropGranted removes one that was given rights of its own, which takes being a
// member of it.
func DropGranted(name string) string {
	return `GRANT "` + name + `" TO CURRENT_USER;DROP OWNED BY "` + name + `";DROP ROLE "` + name + `"`
}

// Extend moves the end of logins.
func Extend(name, until string) string {
	return `ALTER ROLE "` + name + `" VALID UNTIL '` + until + `'`
}

// verifier is what Postgres stores of a password (RFC 5803).
func verifier(password string, iterations int) (string, error) {
	salt := make([]byte, 16)
	_, _ = rand.Read(salt) // never fails
	salted, err := pbkdf2.Key(sha256.New, password, salt, iterations, sha256.Size)
	if err != nil {
		return "", fmt.Errorf("hash a password: %w", err)
	}
	mac := func(text string) []byte {
		m := hmac.New(sha256.New, salted)
		m.Write([]byte(text))
		return m.Sum(nil)
	}
	stored := sha256.Sum256(mac("Client Key"))
	b64 := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("SCRAM-SHA-256$%d:%s$%s:%s", iterations, b64(salt), b64(stored[:]), b64(mac("Server Key"))), nil
}
