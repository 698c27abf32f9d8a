package approle

import (
	"fmt"

	"github.com/curfew-project/curfew/shared/engine"
)

// Help implements [engine.Helper].
func (*Method) Help() []engine.Help {
	all := []engine.Help{
		{Path: "", Synopsis: "Tokens for machines that know a role id and a secret id.", Text: "Write a role (role/<name>), read its role-id, make a secret-id, and log in with both (login)."},
		{Path: "login", Synopsis: "A token for a role id and a secret id.", Text: "PUT takes role_id and secret_id. It needs no token."},
		{Path: "role", Synopsis: "The names of roles.", Text: "LIST gives them."},
		{Path: "role/<name>", Synopsis: "A role: which tokens a login earns, and with which secret ids.", Text: "PUT takes token_policies, token_ttl, token_max_ttl, token_num_uses, token_bound_cidrs, secret_id_ttl, secret_id_num_uses,\n" +
			"secret_id_bound_cidrs, bind_secret_id and more. GET shows it. DELETE ends its secret ids, and no token that was issued."},
		{Path: "role/<name>/secret-id", Synopsis: "A new secret id of a role.", Text: "PUT takes metadata, cidr_list, token_bound_cidrs, num_uses and ttl, and answers it once. LIST gives the accessors."},
		{Path: "role/<name>/custom-secret-id", Synopsis: "A secret id that somebody chose.", Text: "PUT takes secret_id beside what a new one takes."},
		{Path: "role/<name>/secret-id/lookup", Synopsis: "What is known of a secret id.", Text: "PUT takes secret_id."},
		{Path: "role/<name>/secret-id/destroy", Synopsis: "The end of a secret id.", Text: "PUT takes secret_id."},
		{Path: "role/<name>/secret-id-accessor/lookup", Synopsis: "What is known of a secret id, by its accessor.", Text: "PUT takes secret_id_accessor."},
		{Path: "role/<name>/secret-id-accessor/destroy", Synopsis: "The end of a secret id, by its accessor.", Text: "PUT takes secret_id_accessor."},
		{Path: "tidy/secret-id", Synopsis: "Forgetting secret ids that have ended.", Text: "PUT does it at once; it is also done every hour."},
	}
	for _, p := range parts() {
		if p.path == "" {
			continue
		}
		methods := "GET shows it"
		if p.set != nil {
			methods += ", PUT takes " + p.name
		}
		if p.reset != nil {
			methods += ", DELETE resets it"
		}
		all = append(all, engine.Help{
			Path: "role/<name>/" + p.path, Synopsis: fmt.Sprintf("The setting %s of a role.", p.name), Text: methods + ".",
		})
	}
	return all
}

var _ engine.Helper = (*Method)(nil)
