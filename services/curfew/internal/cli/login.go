package cli

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/hashicorp/vault/api"
	"github.com/spf13/cobra"
	"golang.org/x/term"
)

var errNoTerminal = errors.New(`standard input is no terminal to ask on; give the token, or "-" to read it from standard input`)

func (s *session) loginCommand() *cobra.Command {
	var (
		method, path     string
		noStore, noPrint bool
	)
	cmd := s.secretFlags(&cobra.Command{
		Use:   "login [TOKEN | token=TOKEN | - | K=V...]",
		Short: "Check a token, or get one for a role, and keep it in ~/.curfew-token",
		Long: `Check a token, or get one for a role, and keep it in ~/.curfew-token, where later
commands find it.

Without an argument the token is asked for and not shown; "-" reads it from
standard input. With -method=approle the arguments are role_id=… and, where the
role wants one, secret_id=…. What is on the command line can be seen in the
process list: secret_id=@FILE and secret_id=- keep it out of there.`,
		Example: `  curfew login
  curfew login -method=approle role_id=@role_id secret_id=@secret_id`,
		Args: cobra.ArbitraryArgs, // depends on the method
		RunE: func(cmd *cobra.Command, args []string) error {
			var (
				secret *api.Secret
				err    error
			)
			switch method {
			case "token":
				secret, err = s.tokenLogin(cmd, args)
			case approle:
				secret, err = s.approleLogin(cmd, cmp.Or(cleanPath(path), approle), args)
			default:
				err = usage(cmd, "Unknown auth method %q (want token or %s)", method, approle)
			}
			if err != nil {
				return err
			}
			if !noStore {
				if err := s.storeToken(secret.Auth.ClientToken); err != nil {
					return local(err, "Error storing the token")
				}
				s.warnOverridden()
			}
			if noPrint {
				return nil
			}
			return s.printLogin(secret, !noStore)
		},
	})
	flags := cmd.Flags()
	flags.StringVar(&method, "method", "token", "auth method: token or "+approle)
	flags.StringVar(&path, "path", "", "where the auth method is mounted (default: its name)")
	flags.BoolVar(&noStore, "no-store", false, "do not keep the token")
	flags.BoolVar(&noPrint, "no-print", false, "print nothing")
	return cmd
}

// tokenLogin checks a token that the user has.
func (s *session) tokenLogin(cmd *cobra.Command, args []string) (*api.Secret, error) {
	if err := arguments(0, 1)(cmd, args); err != nil {
		return nil, err
	}
	token, err := s.askToken(args)
	if err != nil {
		return nil, usage(cmd, "Error reading the token: %s", err)
	}
	return s.authenticate(cmd, token)
}

// askToken takes the token from the arguments, standard input or the terminal.
func (s *session) askToken(args []string) (string, error) {
	var token string
	switch {
	case len(args) == 1 && args[0] == "-":
		content, err := io.ReadAll(s.io.Stdin)
		if err != nil {
			return "", err
		}
		token = string(content)
	case len(args) == 1:
		token = args[0]
		if key, value, ok := strings.Cut(token, "="); ok {
			if key != "token" {
				return "", errors.New("the only parameter is token=TOKEN")
			}
			token = value
		}
	default:
		answer, err := s.prompt("Token (will be hidden): ")
		if err != nil {
			return "", err
		}
		token = answer
	}
	if token = strings.TrimSpace(token); token == "" {
		return "", errors.New("it is empty")
	}
	return token, nil
}

// prompt asks on the terminal without echo. The question goes to standard
// error: standard output is for the answer.
func (s *session) prompt(question string) (string, error) {
	file, ok := s.io.Stdin.(*os.File)
	if s.flags.nonInteractive {
		return "", errors.New("-non-interactive forbids asking for it")
	}
	if !ok || !term.IsTerminal(int(file.Fd())) {
		return "", errNoTerminal
	}
	fmt.Fprint(s.io.Stderr, question)
	answer, err := term.ReadPassword(int(file.Fd()))
	fmt.Fprintln(s.io.Stderr)
	return string(answer), err
}

// authenticate asks the server what the token is.
func (s *session) authenticate(cmd *cobra.Command, token string) (*api.Secret, error) {
	client, err := s.anonymousClient()
	if err != nil {
		return nil, err
	}
	client.SetToken(token)
	neverWrap(client)
	looked, err := client.Auth().Token().LookupSelfWithContext(cmd.Context())
	if err != nil {
		return nil, refused(err, "Error authenticating: error looking up token")
	}
	if looked == nil {
		return nil, absent("Error authenticating: the server knows nothing of the token")
	}
	auth, err := authOf(looked, token)
	if err != nil {
		return nil, refused(err, "Error authenticating")
	}
	return &api.Secret{Auth: auth, Warnings: looked.Warnings}, nil
}

// authOf makes the answer of a look-up read as that of a login.
func authOf(looked *api.Secret, token string) (*api.SecretAuth, error) {
	accessor, err := looked.TokenAccessor()
	if err != nil {
		return nil, err
	}
	ttl, err := looked.TokenTTL()
	if err != nil {
		return nil, err
	}
	renewable, err := looked.TokenIsRenewable()
	if err != nil {
		return nil, err
	}
	metadata, err := looked.TokenMetadata()
	if err != nil {
		return nil, err
	}
	if _, err := looked.TokenPolicies(); err != nil {
		return nil, err
	}
	auth := &api.SecretAuth{
		ClientToken:   token,
		Accessor:      accessor,
		LeaseDuration: int(ttl.Seconds()),
		Renewable:     renewable,
		Metadata:      metadata,
	}
	if looked.Auth != nil { // where TokenPolicies leaves what it found
		auth.Policies = looked.Auth.Policies
		auth.TokenPolicies = looked.Auth.TokenPolicies
		auth.IdentityPolicies = looked.Auth.IdentityPolicies
	}
	return auth, nil
}

func (s *session) printLogin(secret *api.Secret, stored bool) error {
	if s.flags.format == formatTable && s.flags.field == "" {
		if stored {
			s.say("Success! You are now authenticated. The token information displayed below is " +
				"already stored in the token helper. You do NOT need to run \"curfew login\" again. " +
				"Future Curfew requests will automatically use this token.")
		} else {
			s.say("Success! You are now authenticated. The token information displayed below is " +
				"not stored. Set the CURFEW_TOKEN environment variable to use it.")
		}
	}
	return s.printSecret(secret)
}

// warnOverridden says that a variable makes the stored token ineffective.
func (s *session) warnOverridden() {
	if variable, value := s.envNamed("TOKEN"); value != "" {
		s.warn(fmt.Sprintf("WARNING! The %[1]s environment variable is set! The value of this variable "+
			"will take precedence; if this is unwanted please unset %[1]s or update its value accordingly.", variable))
		fmt.Fprintln(s.io.Stderr)
	}
}
