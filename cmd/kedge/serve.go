package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/kedge-project/kedge/internal/vault"
)

func newServeCommand(term *terminal) *cobra.Command {
	var dir, listen, tokenFile string
	cmd := &cobra.Command{
		Use:     "serve --dir REPOSITORY --listen ADDRESS --token-file FILE",
		Short:   "Serve a repository read-only, for a vault to pull",
		Example: `  kedge serve --dir /srv/repository --listen 10.1.0.1:8000 --token-file /etc/kedge/london.token`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if dir == "" || tokenFile == "" {
				return errors.New("serve needs --dir and --token-file")
			}
			handler, err := vault.ServeRepository(dir, tokenFile)
			if err != nil {
				return err
			}
			return serve(cmd.Context(), term, handler, listen)
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "", "directory of the repository")
	cmd.Flags().StringVar(&listen, "listen", "127.0.0.1:8000", "address to serve at")
	cmd.Flags().StringVar(&tokenFile, "token-file", "", "file that holds the token that readers must present")
	return cmd
}

// serve answers until ctx ends, then lets requests under way finish.
func serve(ctx context.Context, term *terminal, handler http.Handler, address string) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	term.printf("serving at %s", listener.Addr())
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute}
	stopped := make(chan error, 1)
	go func() {
		<-ctx.Done()
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		stopped <- server.Shutdown(grace)
	}()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve: %w", err)
	}
	return <-stopped
}
