package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/hashicorp/vault/api"
	"github.com/spf13/cobra"

	"github.com/curfew-project/curfew/services/curfew/internal/cli/internal/format"
)

// operatorInitCommand initialises a server that was started with
// auto_init = false. Root token, and key where the server does not keep it, are
// printed this once.
func (s *session) operatorInitCommand() *cobra.Command {
	var shares, threshold int
	cmd := s.clientFlags(&cobra.Command{
		Use:   "init",
		Short: "Initialise a new server and print its root token, once",
		Args:  arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := s.client()
			if err != nil {
				return err
			}
			made, err := client.Sys().InitWithContext(cmd.Context(), &api.InitRequest{SecretShares: shares, SecretThreshold: threshold})
			if err != nil {
				return refused(err, "Error initializing")
			}
			if s.structured() {
				return s.printStructured(newInitialised(made, shares, threshold))
			}
			for i, key := range made.KeysB64 {
				fmt.Fprintf(s.out, "Unseal Key %d: %s\n", i+1, key)
			}
			fmt.Fprintf(s.out, "Initial Root Token: %s\n\nSuccess! Curfew is initialized\n", made.RootToken)
			return nil
		},
	})
	cmd.Flags().IntVar(&shares, "key-shares", 1, "parts of the key, where people are given it")
	cmd.Flags().IntVar(&threshold, "key-threshold", 1, "parts needed to unseal")
	return cmd
}

// initialised is the command's JSON, in the stock order and words.
type initialised struct {
	KeysB64           []string `json:"unseal_keys_b64"`
	KeysHex           []string `json:"unseal_keys_hex"`
	Shares            int      `json:"unseal_shares"`
	Threshold         int      `json:"unseal_threshold"`
	RecoveryB64       []string `json:"recovery_keys_b64"`
	RecoveryHex       []string `json:"recovery_keys_hex"`
	RecoveryShares    int      `json:"recovery_keys_shares"`
	RecoveryThreshold int      `json:"recovery_keys_threshold"`
	RootToken         string   `json:"root_token"`
}

func newInitialised(made *api.InitResponse, shares, threshold int) initialised {
	return initialised{
		KeysB64: made.KeysB64, KeysHex: made.Keys, Shares: shares, Threshold: threshold,
		RecoveryB64: made.RecoveryKeysB64, RecoveryHex: made.RecoveryKeys, RootToken: made.RootToken,
	}
}

// operatorUnsealCommand gives the server its key. It needs no token.
func (s *session) operatorUnsealCommand() *cobra.Command {
	var reset bool
	cmd := s.clientFlags(&cobra.Command{
		Use:   "unseal [KEY]",
		Short: "Open a sealed server; without KEY it is asked for, with - read from standard input",
		Args:  arguments(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := s.client()
			if err != nil {
				return err
			}
			act, sent := "Error resetting unseal process", api.UnsealOpts{Reset: reset}
			if !reset {
				act = "Error unsealing"
				if sent.Key, err = s.unsealKey(args); err != nil {
					return usage(cmd, "Error reading the key: %s", err)
				}
			}
			status, err := unseal(cmd.Context(), client, sent)
			if err != nil {
				return refused(err, "%s", act)
			}
			return s.printUnsealed(cmd, client, status)
		},
	})
	cmd.Flags().BoolVar(&reset, "reset", false, "forget the parts of a key that were given")
	return cmd
}

// unseal sends a key. The library leaves commit_date out of the answer, which is
// empty on stock servers, too.
func unseal(ctx context.Context, client *api.Client, sent api.UnsealOpts) (sealStatus, error) {
	got, err := client.Sys().UnsealWithOptionsWithContext(ctx, &sent)
	if err != nil {
		return sealStatus{}, err
	}
	return sealStatus{
		Type: got.Type, Initialized: got.Initialized, Sealed: got.Sealed, T: got.T, N: got.N, Progress: got.Progress, Nonce: got.Nonce,
		Version: got.Version, Migration: got.Migration, ClusterName: got.ClusterName, ClusterID: got.ClusterID,
		RecoverySeal: got.RecoverySeal, StorageType: got.StorageType, BuildDate: got.BuildDate,
	}, nil
}

// unsealKey takes the key from the arguments, standard input or the terminal.
func (s *session) unsealKey(args []string) (key string, err error) {
	switch {
	case len(args) == 1 && args[0] == "-":
		var content []byte
		content, err = io.ReadAll(s.io.Stdin)
		key = string(content)
	case len(args) == 1:
		key = args[0]
	default:
		key, err = s.prompt("Unseal Key (will be hidden): ")
	}
	if key = strings.TrimSpace(key); err == nil && key == "" {
		err = errors.New("it is empty")
	}
	return key, err
}

// printUnsealed shows what the server is now, as the command status does.
func (s *session) printUnsealed(cmd *cobra.Command, client *api.Client, status sealStatus) error {
	now := serverStatus{sealStatus: status}
	if err := leader(cmd.Context(), client, &now.leaderStatus); err != nil {
		return local(err, "Error checking leader status")
	}
	if s.structured() {
		return s.printStructured(now)
	}
	fmt.Fprint(s.out, format.Table([]string{"Key", "Value"}, now.rows()))
	return nil
}

// operatorSealCommand seals the API of all issuers.
func (s *session) operatorSealCommand() *cobra.Command {
	return s.clientFlags(&cobra.Command{
		Use:   "seal",
		Short: "Close the API and stop issuing, everywhere; what was issued is still revoked on time",
		Args:  arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := s.client()
			if err != nil {
				return err
			}
			if err := client.Sys().SealWithContext(cmd.Context()); err != nil {
				return refused(err, "Error sealing")
			}
			s.success("Success! Vault is sealed.")
			return nil
		},
	})
}
