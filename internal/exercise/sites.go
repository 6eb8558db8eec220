package exercise

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"

	"github.com/kedge-project/kedge/internal/estate"
	"github.com/kedge-project/kedge/internal/evidence"
	"github.com/kedge-project/kedge/internal/process"
	"github.com/kedge-project/kedge/internal/vault"
)

// repositoryName is the one repository of the example estate, and its name at the vault.
const repositoryName = "london"

// sites is what the two sites need of one another.
type sites struct {
	repositoryAddress, vaultAddress string
	sourceToken                     string // london's, for geneva to pull with
	readToken, operatorToken        string // geneva's
}

// startSites starts the program that offers london's repository, and geneva's vault that pulls it. They are processes of
// their own: the vault holds no password, and london no credential for it but the one to read.
func (r *run) startSites(ctx context.Context, kedge string) error {
	s, err := r.newSites()
	if err != nil {
		return err
	}
	specs := []process.Spec{
		r.site("serve", kedge, s.repositoryAddress, "serve",
			"--dir", r.path("london", "repository"), "--listen", s.repositoryAddress, "--token-file", s.sourceToken),
		r.site("vault", kedge, s.vaultAddress, "vault",
			"--dir", r.path("geneva"), "--listen", s.vaultAddress, "--interval", "0",
			"--source", repositoryName+"=rest:http://"+s.repositoryAddress+"/", "--source-token-file", s.sourceToken,
			"--read-token-file", s.readToken, "--operator-token-file", s.operatorToken,
			"--witness-key-file", r.path("geneva", "witness.key"), "--log-key-file", r.state("record.pub")),
	}
	for _, spec := range specs {
		r.onClose(func() error { return process.Stop(context.Background(), spec) })
		if err := process.Start(ctx, spec); err != nil {
			return fmt.Errorf("start %s: %w", spec.Name, err)
		}
		r.sites = append(r.sites, spec)
	}
	r.vault = vault.Client{URL: "http://" + s.vaultAddress, TokenFile: s.operatorToken}
	for i := range r.estate.Sites {
		if site := &r.estate.Sites[i]; site.Name == "geneva" {
			site.Vault, site.WitnessKey = r.vault.URL, r.keys.witness
		}
	}
	declared, err := r.estate.Repository(repositoryName)
	if err != nil {
		return err
	}
	declared.Copy = &estate.Copy{
		Site: "geneva", Location: "rest:http://" + s.vaultAddress + "/repository/" + repositoryName + "/", TokenFile: s.readToken,
	}
	return nil
}

func (r *run) site(name, kedge, address string, args ...string) process.Spec {
	spec := siteSpec(r.opt.Dir, name)
	spec.Argv = append([]string{kedge}, args...)
	spec.Listen = []string{address}
	return spec
}

// newSites makes the directories, tokens and keys of both sites, and opens the record.
func (r *run) newSites() (sites, error) {
	for _, dir := range []string{r.path("run"), r.path("geneva"), r.path("report"), r.state()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return sites{}, err
		}
	}
	s := sites{
		sourceToken: r.path("london", "pull.token"), readToken: r.path("geneva", "read.token"), operatorToken: r.path("geneva", "operator.token"),
	}
	for _, path := range []string{s.sourceToken, s.readToken, s.operatorToken} {
		if err := os.WriteFile(path, []byte(rand.Text()+"\n"), 0o600); err != nil {
			return sites{}, err
		}
	}
	var err error
	if r.keys.log, err = evidence.GenerateKey(r.state("record.key"), "example-estate/record"); err != nil {
		return sites{}, err
	}
	if r.keys.witness, err = evidence.GenerateKey(r.path("geneva", "witness.key"), "example-estate/geneva"); err != nil {
		return sites{}, err
	}
	if err := os.WriteFile(r.state("record.pub"), []byte(r.keys.log+"\n"+r.keys.witness+"\n"), 0o644); err != nil {
		return sites{}, err
	}
	if s.repositoryAddress, err = freeAddress(); err != nil {
		return sites{}, err
	}
	s.vaultAddress, err = freeAddress()
	return s, err
}

// freeAddress finds a loopback port that nobody listens at now.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// installKedge copies this program into the exercise's directory, where the processes of the example find it whoever
// runs them.
func (r *run) installKedge() (string, error) {
	path := r.path("bin", "kedge")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", err
	}
	in, err := os.Open("/proc/self/exe")
	if err != nil {
		return "", fmt.Errorf("read this program: %w", err)
	}
	defer in.Close()
	out, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o755)
	if err != nil {
		return "", err
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return "", fmt.Errorf("copy this program: %w", err)
	}
	return path, out.Close()
}
