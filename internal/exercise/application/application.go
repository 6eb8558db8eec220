// Package application holds the small web applications of the example estate: a ship register over PostgreSQL,
// a library of meeting documents, a publications reader with sign-in, and a browser for the file server.
//
// They are ordinary programs of an organisation and know nothing of kedge. Each is a http.Handler, safe for
// concurrent use; Run serves one on a loopback address.
package application

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// shutdownWait bounds how long requests that are being answered are waited for at the end.
const shutdownWait = 3 * time.Second

// Config is what an application reads at its start, from a JSON file. Paths are absolute.
type Config struct {
	Listen string `json:"listen"` // host:port of the loopback interface
	// Connect is a PostgreSQL connection string without a password. For gisis and imodocs.
	Connect      string `json:"connect,omitempty"`
	PasswordFile string `json:"password_file,omitempty"`
	// Documents is the directory that is served: meeting documents, chapters, or departmental files.
	Documents string `json:"documents,omitempty"`
	// Users and Uploads are for publications: who may sign in, and where cover images go.
	Users   string `json:"users,omitempty"`
	Uploads string `json:"uploads,omitempty"`
}

// Names are the applications that Run knows.
var Names = []string{"fileserver", "gisis", "imodocs", "publications"}

// Run serves the named application until ctx ends. It returns nil then, and an error if it cannot serve.
func Run(ctx context.Context, name, configFile string) error {
	config, err := load(configFile)
	if err != nil {
		return fmt.Errorf("run application %s: %w", name, err)
	}
	handler, release, err := open(ctx, name, config)
	if err != nil {
		return fmt.Errorf("run application %s: %w", name, err)
	}
	defer release()
	if err := serve(ctx, config.Listen, handler); err != nil {
		return fmt.Errorf("run application %s: %w", name, err)
	}
	return nil
}

func load(file string) (Config, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return Config{}, fmt.Errorf("read configuration: %w", err)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	var c Config
	if err := dec.Decode(&c); err != nil {
		return Config{}, fmt.Errorf("read configuration %s: %w", file, err)
	}
	return c, nil
}

// open makes the application's handler. release frees what it holds.
func open(ctx context.Context, name string, c Config) (handler http.Handler, release func(), err error) {
	switch name {
	case "gisis", "imodocs":
		db, err := connect(ctx, c)
		if err != nil {
			return nil, nil, err
		}
		if name == "gisis" {
			return GISIS(db), db.Close, nil
		}
		root, err := os.OpenRoot(c.Documents)
		if err != nil {
			db.Close()
			return nil, nil, fmt.Errorf("open documents: %w", err)
		}
		return IMODOCS(db, root), func() { db.Close(); root.Close() }, nil
	case "publications":
		return openPublications(c)
	case "fileserver":
		root, err := os.OpenRoot(c.Documents)
		if err != nil {
			return nil, nil, fmt.Errorf("open documents: %w", err)
		}
		return Fileserver(root), func() { root.Close() }, nil
	}
	return nil, nil, fmt.Errorf("it is not one of %s", strings.Join(Names, ", "))
}

// Fileserver lets people read the files of their departments.
func Fileserver(root *os.Root) http.Handler { return http.FileServerFS(root.FS()) }

func connect(ctx context.Context, c Config) (*pgxpool.Pool, error) {
	config, err := pgxpool.ParseConfig(c.Connect)
	if err != nil {
		return nil, fmt.Errorf("read connection string: %w", err)
	}
	password, err := os.ReadFile(c.PasswordFile)
	if err != nil {
		return nil, fmt.Errorf("read database password: %w", err)
	}
	config.ConnConfig.Password = strings.TrimSpace(string(password))
	config.MaxConns = 4
	// Without prepared statements an application goes on after its database was brought back from a backup.
	config.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeExec
	db, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	return db, nil
}

func serve(ctx context.Context, address string, handler http.Handler) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil || !at.Addr().IsLoopback() {
		return fmt.Errorf("listen on %q: it must be a loopback address with a port, such as 127.0.0.1:8080", address)
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler: http.MaxBytesHandler(handler, maxUpload), ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout: time.Minute, WriteTimeout: time.Minute, MaxHeaderBytes: 64 << 10,
	}
	ended := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownWait)
		defer cancel()
		ended <- server.Shutdown(last)
	})
	err = server.Serve(listener)
	if stop() || !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve %s: %w", address, err)
	}
	if err := <-ended; err != nil {
		return errors.Join(fmt.Errorf("finish requests: %w", err), server.Close())
	}
	return nil
}
