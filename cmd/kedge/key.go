package main

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/spf13/cobra"
	xterm "golang.org/x/term"

	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/repo"
)

func newKeyCommand(term *terminal) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "key",
		Short: "Manage the passwords of a repository",
		Long: `Manage the keys of a repository. Each key opens it with a password of its own, so that one can be
given to a second site, or withdrawn, without the others.`,
		Example: `  kedge key list -r /srv/repository
  kedge key add -r /srv/repository --new-password-file /etc/kedge/second.password --host geneva
  kedge key passwd -r /srv/repository --new-password-file /etc/kedge/new.password
  kedge key remove -r /srv/repository 5c657874`,
	}
	cmd.AddCommand(newKeyListCommand(term), newKeyAddCommand(term), newKeyRemoveCommand(term), newKeyPasswdCommand(term))
	return cmd
}

func newKeyListCommand(term *terminal) *cobra.Command {
	var flags repositoryFlags
	cmd := &cobra.Command{
		Use:     "list -r REPOSITORY",
		Short:   "List the keys; a star marks the one in use",
		Example: "  kedge key list -r /srv/repository\n  kedge key list -r /srv/repository --json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return flags.with(cmd.Context(), sharedLock, func(ctx context.Context, r *repo.Repository) error {
				keys, unreadable := r.Keys(ctx) // what can be read is shown, then what cannot
				if err := printKeys(term, keys); err != nil {
					return err
				}
				return unreadable
			})
		},
	}
	flags.add(cmd)
	flags.damagedIndex = true
	return cmd
}

// keyObject is a key as restic prints it, with its local time.
type keyObject struct {
	Current  bool   `json:"current"`
	ID       string `json:"id"` // the first digits
	UserName string `json:"userName"`
	HostName string `json:"hostName"`
	Created  string `json:"created"`
}

func printKeys(term *terminal, keys []repo.KeyInfo) error {
	objects := make([]keyObject, 0, len(keys))
	shown := table{heads: []string{" ID", "User", "Host", "Created"}}
	for _, k := range keys {
		mark := " "
		if k.Current {
			mark = "*"
		}
		shown.add(cell(mark+k.ID.Short()), cell(k.Username), cell(k.Hostname), cell(shownTime(k.Created)))
		objects = append(objects, keyObject{k.Current, k.ID.Short(), k.Username, k.Hostname, k.Created.Local().Format(time.DateTime)})
	}
	shown.print(term, "")
	return term.object(objects)
}

// newKeyFlags say what a new key is.
type newKeyFlags struct {
	repositoryFlags
	newPasswordFile string
	noPassword      bool
	user, host      string
}

func (f *newKeyFlags) add(cmd *cobra.Command) {
	f.repositoryFlags.add(cmd)
	f.damagedIndex = true // keys do not need it
	flags := cmd.Flags()
	flags.StringVar(&f.newPasswordFile, "new-password-file", "", "file that holds the new password (default: ask for it)")
	flags.BoolVar(&f.noPassword, "new-insecure-no-password", false, "let anyone who can read the storage open the repository")
	flags.StringVar(&f.user, "user", "", "user name to store with the key (default: yours)")
	flags.StringVar(&f.host, "host", "", "host name to store with the key (default: this machine's)")
	cmd.MarkFlagsMutuallyExclusive("new-password-file", "new-insecure-no-password")
}

func (f *newKeyFlags) options() repo.KeyOptions {
	return repo.KeyOptions{Username: f.user, Hostname: f.host, NoPassword: f.noPassword}
}

// secondPassword reads the new password from its file, or asks for it twice.
func (f *newKeyFlags) secondPassword(ctx context.Context) (string, error) {
	switch {
	case f.noPassword:
		return "", nil
	case f.newPasswordFile != "":
		return readSecret(f.newPasswordFile)
	case !xterm.IsTerminal(int(os.Stdin.Fd())):
		return "", errors.New("no new password: give --new-password-file, or run the command on a terminal")
	}
	return f.askTwice(ctx, "enter new password: ")
}

func newKeyAddCommand(term *terminal) *cobra.Command {
	var flags newKeyFlags
	cmd := &cobra.Command{
		Use:     "add -r REPOSITORY",
		Short:   "Add a key: another password that opens the repository",
		Example: "  kedge key add -r /srv/repository --new-password-file /etc/kedge/second.password --user helen --host geneva",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return flags.with(cmd.Context(), appendLock, func(ctx context.Context, r *repo.Repository) error {
				password, err := flags.secondPassword(ctx)
				if err != nil {
					return err
				}
				id, err := r.AddKey(ctx, password, flags.options())
				if err != nil {
					return err
				}
				term.printf("saved new key %s", id)
				return term.object(map[string]any{"message_type": "added", "id": id})
			})
		},
	}
	flags.add(cmd)
	return cmd
}

func newKeyPasswdCommand(term *terminal) *cobra.Command {
	var flags newKeyFlags
	cmd := &cobra.Command{
		Use:   "passwd -r REPOSITORY",
		Short: "Change the password that this command opens the repository with",
		Long: `Change the password: a new key is added and tried, then the one in use is removed. Who had read
the old key file and knew its password can still open a copy of it.`,
		Example: "  kedge key passwd -r /srv/repository --new-password-file /etc/kedge/new.password",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return flags.with(cmd.Context(), exclusiveLock, func(ctx context.Context, r *repo.Repository) error {
				password, err := flags.secondPassword(ctx)
				if err != nil {
					return err
				}
				id, err := r.ChangePassword(ctx, password, flags.options())
				if err != nil {
					return err
				}
				term.printf("saved new key %s, and removed the one that was in use", id)
				return term.object(map[string]any{"message_type": "changed", "id": id})
			})
		},
	}
	flags.add(cmd)
	return cmd
}

func newKeyRemoveCommand(term *terminal) *cobra.Command {
	var flags repositoryFlags
	cmd := &cobra.Command{
		Use:     "remove -r REPOSITORY ID",
		Short:   "Remove a key: its password no longer opens the repository",
		Example: "  kedge key remove -r /srv/repository 5c657874",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return flags.with(cmd.Context(), exclusiveLock, func(ctx context.Context, r *repo.Repository) error {
				id, err := r.FindID(ctx, backend.Key, args[0])
				if err != nil {
					return err
				}
				if err := r.RemoveKey(ctx, id); err != nil {
					return err
				}
				term.printf("removed key %s", id)
				return term.object(map[string]any{"message_type": "removed", "id": id})
			})
		},
	}
	flags.add(cmd)
	flags.damagedIndex = true
	return cmd
}
