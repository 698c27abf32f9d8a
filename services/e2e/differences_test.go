//go:build e2e

package e2e

import (
	"regexp"
	"strings"
)

// difference is one way in which Curfew answers otherwise than the recordings,
// on purpose. Each entry has to occur when the recordings are replayed.
type difference struct {
	// step is a step's name, at the place in the answer; a star in either
	// stands for any text. exchange counts from 1; 0 is all of the step.
	step     string
	exchange int
	at       string
	// ours is a regular expression for the whole of what Curfew answers there,
	// as JSON; "none" where it answers nothing.
	ours   string
	reason string
}

// allowed are the entries that a mismatch falls under.
func allowed(list []difference, m mismatch) []int {
	var out []int
	for i, d := range list {
		if stars(d.step).MatchString(m.step) && (d.exchange == 0 || d.exchange == m.exchange) &&
			stars(d.at).MatchString(m.at) && regexp.MustCompile(`^(?s:`+d.ours+`)$`).MatchString(m.got) {
			out = append(out, i)
		}
	}
	return out
}

func stars(pattern string) *regexp.Regexp {
	return regexp.MustCompile(`^` + strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*`, `.*`) + `$`)
}

// intended is the one list of intended differences.
func intended() []difference {
	const (
		perAccount = `200 \{"auth":null,"data":null,.*"warnings":\["creation_statements grant privileges to each account: .*"\],"wrap_info":null\}`
		noMove     = "moving a mount is refused, and the refusal says what to do: a lease names its mount, and its path is where it is revoked"
		unmoved    = `400 \{"errors":\["mounts cannot be moved: enable a new mount at the new path, .*"\]\}`
		capped     = "the warning ends with the level whose limit it is"
		noRetry    = "what the client must change is a 4xx: it retries a 5xx"
		refused    = "statements are read when the role is written (B4)"
		noPKI      = "there is no pki engine"
		shared     = "a password that another connection uses as well is not changed (B11)"
		own        = "what the server says of itself is Curfew's"
		inFile     = "the key is one file, or one text of the environment: with it the server unseals itself"
		noLeader   = "every issuer serves every request: there is no leader to be sent to"
		drawn      = "it is drawn like all ids of the store"
		seedWorks  = "the second article's role can be revoked as written: what its revocation_statements leave is taken away by the safe default (C5)"
	)
	return []difference{
		{"*", 0, "header.Strict-Transport-Security", `""`, "whether a host is to be reached over TLS only is for the one who runs it to say, not for a listener without TLS"},
		{"*", 0, "form.password", `"[A-Za-z0-9-]{24}"`, "24 characters, so that a password has 128 bits or more and needs no stretching (B10)"},
		{"read sys/mounts", 0, "form.uuid", `"[A-Za-z0-9_-]{20}"`, drawn},

		{"*", 0, "version", `"[0-9]+\.[0-9]+\.[^"]+"`, own},
		{"*", 0, "cluster_name", `"curfew"`, own},
		{"*", 0, "replication_performance_mode", `"disabled"`, "there is no replication to be primary of"},
		{"*", 0, "type", `"file"`, inFile},
		{"*", 0, "storage_type", `"(sqlite|postgresql)"`, own},
		{"*", 0, "recovery_seal", `true`, inFile},
		{"operator init", 2, "form.token", `"hvs\.[A-Za-z0-9]{32}"`, "tokens begin with hvs., as Vault's do and as scanners for leaked secrets know them"},
		{"operator init", 2, "keys*", `\[\]`, inFile},
		{"status, initialised but sealed", 1, "sealed", `false`, inFile},
		{"status, initialised but sealed", 1, "cluster_id", `"[A-Za-z0-9_-]{20}"`, inFile},
		{"status, initialised but sealed", 2, "answer", `200 \{"ha_enabled":false,.*\}`, inFile},
		{"health while sealed (curl)", 1, "answer", `200 \{.*"initialized":true,.*"sealed":false,.*\}`, inFile},
		{"reading a secret while sealed", 1, "answer", `404 \{"errors":\["no handler for route .*"\]\}`, inFile},
		{"sealed: raw API", 1, "answer", `404 \{"errors":\["no handler for route .*"\]\}`, inFile},
		{"sealed: token lookup-self", 1, "answer", `200 \{.*"policies":\["root"\],.*\}`, inFile},
		{"operator unseal, wrong key", 1, "answer", `200 \{.*"sealed":false,.*\}`, inFile},
		{"operator unseal", 1, "form.uuid", `"[A-Za-z0-9_-]{20}"`, drawn},
		{"*", 0, "ha_enabled", `false`, noLeader},
		{"*", 0, "is_self", `false`, noLeader},
		{"*", 0, "leader_*", `""`, noLeader},
		{"*", 0, "active_time", `none`, noLeader},
		{"*", 0, "raft_*_index", `none`, noLeader},

		{"seed 1 config verbatim*", 1, "errors", `"error creating database object: error verifying connection: failed to connect to .*: dial error: dial tcp 127.0.0.1:[0-9]+: connect: connection refused"`, "the replay asks no name server: the host is a port on which nobody listens"},
		{"seed 1: role readonly", 1, "answer", perAccount, "a role that grants to each account is warned about: it ends at about 2,400 accounts"},
		{"seed 2: role app-readonly*", 1, "answer", perAccount, "a role that grants to each account is warned about: it ends at about 2,400 accounts"},

		{"seed: list sys/mounts", 1, "answer", `200 \{"auth":null,"data":\{"keys":\["database/","sys/"\]\},.*\}`, "the first article lists sys/mounts: it answers with the paths"},
		{"*", 0, "*cubbyhole/", "none", "there is no cubbyhole: wrapped answers are sealed in the store (A9)"},
		{"*", 0, "*identity/", "none", "there are no identities: a token is its own"},
		{"*", 0, "*sys/.config.passthrough_request_headers", "none", "no header is passed through to an engine"},
		{"*", 0, "*.running_plugin_version", `"v[0-9.]+\+builtin\.curfew"`, "the engines are of this program"},

		{"audit enable, path not writable*", 1, "errors", `"sanity check failed; unable to open \\"/proc/nope/a.log\\" for writing: it is not below a directory that the configuration allows .*"`, "files of audit devices are only where the configuration allows them"},

		{"renew past max_ttl*", 5, "data.capped_by", `"role"`, "a look-up names the limit that capped the lease"},

		{"secrets tune, secrets move*", 2, "answer", unmoved, noMove},
		{"secrets tune, secrets move*", 3, "answer", unmoved, noMove},
		{"secrets tune, secrets move*", 4, "answer", unmoved, noMove},
		{"delete role, then read creds of it", 1, "answer", `400 \{"errors":\["creation_statements: statement 1, line 1, column 1: is no statement that .*"\]\}`, "statements are read when the role is written (B4), and \"x\" is none"},

		{"renew over the wire*", 2, "answer", `200 \{"auth":null,"data":null,"lease_duration":3600,"lease_id":"database/creds/readonly/.*","renewable":true,.*\}`, "older libraries renew at sys/renew, as HashiCorp's server lets them"},

		{"SEED DEFECT: seed 2 role, -sync revoke*", 2, "answer", `204 null`, seedWorks},
		{"SEED DEFECT: seed 2 as written*", 2, "rows", `\[\]`, seedWorks},
		{"SEED DEFECT: seed 2 as written*", 3, "answer", `400 \{"errors":\["invalid lease"\]\}`, seedWorks},
		{"SEED DEFECT: -prefix -sync over the stuck lease", 1, "answer", `204 null`, seedWorks},
		{"lease revoke -force -prefix: lease forgotten*", 3, "rows", `\[\]`, seedWorks},
		{"leases tidy", 1, "warnings", `"Nothing was started: sweeps look for leases and accounts without each other all the time."`, "sweeps run all the time; there is nothing to start"},

		{"creds with the app token*", 1, "lease_duration", `(600|59[0-9])`, "a lease ends with its token at the latest (A3)"},
		{"creds with the app token*", 1, "warnings", `\["TTL of \\"1h\\" exceeded the effective max_ttl of \\"[0-9ms]+\\"; TTL value is capped accordingly \(capped by: token\)"\]`, "a lease ends with its token at the latest (A3)"},
		{"token create -type=batch*", 1, "answer", `400 \{"errors":\["token type \\"batch\\" is not supported: use service"\]\}`, "a token that is nowhere kept cannot be taken away"},
		{"token create with a ttl over the system maximum*", 1, "warnings", `"TTL of \\"9999h\\" exceeded the effective max_ttl of \\"768h\\"; TTL value is capped accordingly \(capped by: system\)"`, capped},

		{"never unwrapped*", 1, "data.keys", `\["[A-Za-z0-9]{24}","[A-Za-z0-9]{24}","[A-Za-z0-9]{24}"\]`, "a credential that nobody unwraps is revoked when its wrapping token ends (A9); and the recording had leases of steps before"},
		{"using a wrapping token for an ordinary read", 2, "errors", `"permission denied"`, "a wrapping token is no token for anything but its answer"},

		{"prepare: config and role with short TTLs", 2, "answer", perAccount, "a role that grants to each account is warned about: it ends at about 2,400 accounts"},
		{"*", 0, "auth.entity_id", `""`, "there are no identities: a token is its own"},
		{"auth list", 1, "form.uuid", `"[A-Za-z0-9_-]{20}"`, drawn},
		{"bao agent*", 1, "form.uuid", `"[A-Za-z0-9_-]{20}"`, drawn},
		{"bao agent*", 0, "warnings", `"TTL of \\"[12]0s\\" exceeded the effective max_ttl of \\"[0-9]+s\\"; TTL value is capped accordingly \(capped by: role\)"`, capped},

		{"renew past max_ttl*", 0, "warnings", `"TTL of \\"1h\\" exceeded the effective max_ttl of \\"[0-9]+s\\"; TTL value is capped accordingly \(capped by: role\)"`, capped},
		{"role whose TTL is over the system maximum*", 0, "warnings", `"TTL of \\"1000h\\" exceeded the effective max_ttl of \\"768h\\"; TTL value is capped accordingly \(capped by: system\)"`, capped},
		{"mount max_lease_ttl=10m below*", 0, "warnings", `"TTL of \\"1h\\" exceeded the effective max_ttl of \\"10m\\"; TTL value is capped accordingly \(capped by: mount\)"`, capped},
		{"role with default_ttl > max_ttl", 1, "answer", `400 \{"errors":\["lease TTL too large: default_ttl of 2h is above max_ttl of 1h"\]\}`, "such a role can never give what it says"},
		{"not in allowed_roles", 2, "answer", `400 \{"errors":\["1 error occurred:\\n\\t\* \\"outsider\\" is not an allowed role\\n\\n"\]\}`, noRetry},
		{"role that names an unknown db_name", 1, "answer", `400 \{"errors":\["creation_statements: statement 1 \(CREATE ROLE\), line 1, column 1: creates an account other than \\"{{name}}\\", .*"\]\}`, refused},
		{"role that names an unknown db_name", 2, "answer", `400 \{"errors":\["unknown role: nodb"\]\}`, refused},
		{"broken creation SQL", 1, "answer", `400 \{"errors":\["creation_statements: no statement creates the account: .*"\]\}`, refused},
		{"broken creation SQL", 2, "answer", `400 \{"errors":\["unknown role: bad_sql"\]\}`, refused},
		{"malformed JSON*", 5, "data.keys", `\["app-readonly","downrole","longer","outsider","readonly","readonly3s","short"\]`, refused},
		{"malformed JSON*", 6, "data.keys", `\["app-readonly","downrole","longer","outsider","readonly","readonly3s","short"\]`, refused},
		{"renewable=false: a PKI certificate lease*", 1, "answer", `400 \{"errors":\["plugin not found in the catalog: pki"\]\}`, noPKI},
		{"renewable=false: a PKI certificate lease*", 2, "answer", `404 \{"errors":\["no handler for route .*"\]\}`, noPKI},
		{"renewable=false: a PKI certificate lease*", 3, "answer", `404 \{"errors":\["no handler for route .*"\]\}`, noPKI},
		{"renewable=false: a PKI certificate lease*", 4, "answer", `404 \{"errors":\["no handler for route .*"\]\}`, noPKI},
		{"renewable=false: a PKI certificate lease*", 5, "errors", `"lease not found"`, noPKI},
		{"*", 0, "form.token", `"hvs\.[A-Za-z0-9]{88,96}"`, "tokens begin with hvs., as Vault's do and as scanners for leaked secrets know them"},
		{"rotate-root (seed 2)*", 1, "answer", `400 \{"errors":\["1 error occurred:\\n\\t\* the admin user \\"vault_admin\\" is also used by database/config/my-postgres: .*"\]\}`, shared},
		{"rotate-root (seed 2)*", 4, "answer", `204 null`, shared},
		{"rotate-root (seed 2)*", 5, "answer", `200 \{"auth":null,"data":\{.*"username":"v-root-readonly-.*`, shared},
		{"rotate-root of an unknown connection", 1, "answer", `400 \{"errors":\["1 error occurred:\\n\\t\* failed to find entry for connection with name: \\"nope\\"\\n\\n"\]\}`, noRetry},
	}
}
