package database

import (
	"errors"
	"net/url"
	"regexp"
	"strings"

	"github.com/curfew-project/curfew/shared/secret"
)

// The variables of a connection URL, as Vault's.
const (
	usernameVariable = "{{username}}"
	passwordVariable = "{{password}}"
)

// address is a connection URL or keyword string with its credentials taken
// out: where they stood are variables, so that it can be read back by anybody.
type address struct {
	text string
	// username and password are what was spelled out; a variable counts as
	// nothing.
	username string
	password secret.Value
}

// What is wrong with an address, without a word of it.
var (
	errSyntax      = errors.New("connection_url cannot be read: write postgresql://{{username}}:{{password}}@host:5432/database, or host=… port=… dbname=… user={{username}} password={{password}}")
	errSSLPassword = errors.New("connection_url holds sslpassword: give the key without a passphrase as private_key")
	errTwice       = errors.New("connection_url holds more than one password")
)

// parseAddress takes the credentials out of a connection URL. Its errors never
// repeat any of it.
func parseAddress(raw string) (address, error) {
	raw = strings.TrimSpace(raw)
	for _, v := range []string{usernameVariable, passwordVariable} {
		name := strings.Trim(v, "{}")
		raw = regexp.MustCompile(`\{\{\s*`+name+`\s*\}\}`).ReplaceAllLiteralString(raw, v)
	}
	for _, scheme := range []string{"postgresql://", "postgres://"} {
		if len(raw) >= len(scheme) && strings.EqualFold(raw[:len(scheme)], scheme) {
			return parseURL(scheme, raw[len(scheme):])
		}
	}
	// A password may hold "://"; the first key does not.
	if key, _, keywords := strings.Cut(raw, "="); !keywords || strings.Contains(key, "://") {
		return address{}, errSyntax
	}
	return parseKeywords(raw)
}

func parseURL(scheme, rest string) (address, error) {
	var a address
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	authority, tail := rest[:end], rest[end:]
	host := authority
	if i := strings.LastIndexByte(authority, '@'); i >= 0 {
		host = authority[i+1:]
		user, password, hasPassword := strings.Cut(authority[:i], ":")
		if err := a.setUser(user); err != nil {
			return address{}, err
		}
		if hasPassword {
			if err := a.setPassword(password); err != nil {
				return address{}, err
			}
		}
	}
	path, query, _ := strings.Cut(tail, "?")
	if strings.Contains(path, "#") || strings.Contains(query, "#") || strings.Contains(path, "@") {
		return address{}, errSyntax // a password with a slash in it, say
	}
	kept, err := a.takeQuery(query)
	if err != nil {
		return address{}, err
	}
	if kept != "" {
		kept = "?" + kept
	}
	a.text = scheme + usernameVariable + ":" + passwordVariable + "@" + host + path + kept
	if _, err := url.Parse(strings.NewReplacer(usernameVariable, "u", passwordVariable, "p").Replace(a.text)); err != nil {
		return address{}, errSyntax
	}
	return a, nil
}

// takeQuery removes credentials from the query of a URL.
func (a *address) takeQuery(query string) (string, error) {
	var kept []string
	for part := range strings.SplitSeq(query, "&") {
		key, value, _ := strings.Cut(part, "=")
		name, err := url.PathUnescape(key) // a plus is a plus, as in libpq
		if err != nil {
			return "", errSyntax
		}
		switch strings.ToLower(name) {
		case "user":
			err = a.setUser(value)
		case "password":
			err = a.setPassword(value)
		case "sslpassword":
			err = errSSLPassword
		case "":
		default:
			kept = append(kept, part)
		}
		if err != nil {
			return "", err
		}
	}
	return strings.Join(kept, "&"), nil
}

func (a *address) setUser(escaped string) error {
	if escaped == usernameVariable || escaped == "" {
		return nil
	}
	user, err := url.PathUnescape(escaped)
	if err != nil || strings.Contains(user, "{{") {
		return errSyntax
	}
	a.username = user
	return nil
}

func (a *address) setPassword(escaped string) error {
	if escaped == passwordVariable || escaped == "" {
		return nil
	}
	password, err := url.PathUnescape(escaped)
	if err != nil {
		return errSyntax
	}
	return a.keepPassword(password)
}

func (a *address) keepPassword(password string) error {
	if !a.password.Empty() {
		return errTwice
	}
	a.password = secret.New(password)
	return nil
}

// parseKeywords reads libpq's keyword=value form: values may stand in single
// quotes, and a backslash escapes a quote or a backslash.
func parseKeywords(raw string) (address, error) {
	var a address
	var kept []string
	rest := raw
	for {
		rest = strings.TrimLeft(rest, " \t\r\n")
		if rest == "" {
			break
		}
		key, after, found := strings.Cut(rest, "=")
		key = strings.TrimSpace(key)
		if !found || key == "" || strings.ContainsAny(key, " \t\r\n'\\") {
			return address{}, errSyntax
		}
		value, n, ok := keywordValue(after)
		if !ok {
			return address{}, errSyntax
		}
		written := strings.TrimSpace(after[:n])
		rest = after[n:]
		switch strings.ToLower(key) {
		case "user":
			if value != usernameVariable {
				a.username = value
			}
		case "password":
			if value == passwordVariable || value == "" {
				break
			}
			if err := a.keepPassword(value); err != nil {
				return address{}, err
			}
		case "sslpassword":
			return address{}, errSSLPassword
		default:
			kept = append(kept, key+"="+written)
		}
	}
	kept = append(kept, "user="+usernameVariable, "password="+passwordVariable)
	a.text = strings.Join(kept, " ")
	return a, nil
}

// keywordValue reads one value and returns it with the length of what it read.
func keywordValue(s string) (value string, n int, ok bool) {
	start := len(s) - len(strings.TrimLeft(s, " \t\r\n"))
	quoted := start < len(s) && s[start] == '\''
	i := start
	if quoted {
		i++
	}
	var b strings.Builder
	for ; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\':
			if i++; i == len(s) {
				return "", 0, false
			}
			b.WriteByte(s[i])
		case quoted && c == '\'':
			return b.String(), i + 1, true
		case !quoted && (c == ' ' || c == '\t' || c == '\r' || c == '\n'):
			return b.String(), i, true
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), i, !quoted
}
