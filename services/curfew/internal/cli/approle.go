package cli

import (
	"strings"

	"github.com/hashicorp/vault/api"
	"github.com/spf13/cobra"
)

const approle = "approle"

// approleLogin gets a token for the role and secret id in args.
func (s *session) approleLogin(cmd *cobra.Command, path string, args []string) (*api.Secret, error) {
	data, err := keyValues(args, s.io.Stdin)
	if err != nil {
		return nil, usage(cmd, "Invalid K=V data: %s", err)
	}
	for key, value := range data {
		// Not every word is shown: what stands before a "=" may be part of a secret.
		text, ok := value.(string)
		if key != "role_id" && key != "secret_id" || !ok {
			return nil, usage(cmd, "The parameters of -method=%s are role_id=… and secret_id=…, once each", approle)
		}
		data[key] = strings.TrimSpace(text) // files end in a newline, ids do not
	}
	if data["role_id"] == nil {
		return nil, usage(cmd, "role_id=… is needed")
	}
	client, err := s.anonymousClient()
	if err != nil {
		return nil, err
	}
	neverWrap(client)
	secret, err := client.Logical().WriteWithContext(cmd.Context(), "auth/"+path+"/login", data)
	if err != nil {
		return nil, refused(err, "Error authenticating")
	}
	if secret == nil || secret.Auth == nil || secret.Auth.ClientToken == "" {
		return nil, absent("Error authenticating: the server answered without a token")
	}
	return secret, nil
}
