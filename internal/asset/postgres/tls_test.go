package postgres

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kedge-project/kedge/internal/asset/postgrestest"
)

// authority is a certificate authority of a test's own.
type authority struct {
	t    *testing.T
	dir  string // where its files go
	name string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	last int64
}

// newAuthority makes one, with its own certificate in the file that root names.
func newAuthority(t *testing.T, dir, name string) *authority {
	t.Helper()
	a := &authority{t: t, dir: dir, name: name}
	template := &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	template.Subject.CommonName = name
	a.sign(name, template)
	return a
}

func (a *authority) root() string { return filepath.Join(a.dir, a.name+".crt") }

// sign makes a key and a certificate, in files of that name. The authority's first one is its own.
func (a *authority) sign(file string, template *x509.Certificate) (cert, key string) {
	a.t.Helper()
	a.last++
	template.SerialNumber = big.NewInt(a.last)
	template.NotBefore = time.Now().Add(-time.Hour)
	if template.NotAfter.IsZero() {
		template.NotAfter = time.Now().Add(time.Hour)
	}
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, private
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &private.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	if a.cert == nil {
		if a.cert, err = x509.ParseCertificate(der); err != nil {
			a.t.Fatal(err)
		}
		a.key = private
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, key = filepath.Join(a.dir, file+".crt"), filepath.Join(a.dir, file+".key")
	for name, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			a.t.Fatal(err)
		}
	}
	return cert, key
}

// speakTLS makes c's server speak TLS with a certificate for localhost that a signed, and ask kedge for TLS and its password, and
// the role "sailor" for a certificate.
func speakTLS(t *testing.T, c *postgrestest.Cluster, a *authority, server *x509.Certificate) {
	t.Helper()
	cert, key := a.sign("server", server)
	info, err := os.Stat(c.Data)
	if err != nil {
		t.Fatal(err)
	}
	owner := info.Sys().(*syscall.Stat_t)
	for from, to := range map[string]string{cert: "server.crt", key: "server.key", a.root(): "root.crt"} {
		text, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		to = filepath.Join(c.Data, to)
		if err := os.WriteFile(to, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Lchown(to, int(owner.Uid), int(owner.Gid)); err != nil {
			t.Fatal(err)
		}
	}
	const access = `
host postgres,app postgres 127.0.0.1/32 scram-sha-256
hostssl all,replication sailor localhost cert
hostssl all,replication kedge localhost scram-sha-256
`
	if err := os.WriteFile(filepath.Join(c.Data, "pg_hba.conf"), []byte(access), 0o600); err != nil {
		t.Fatal(err)
	}
	conf, err := os.OpenFile(filepath.Join(c.Data, "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conf.WriteString("ssl = on\nssl_ca_file = 'root.crt'\nlisten_addresses = 'localhost'\n"); err != nil {
		t.Fatal(err)
	}
	if err := conf.Close(); err != nil {
		t.Fatal(err)
	}
	c.Restart(t)
}

func TestCaptureByTLSWithAPasswordOrACertificate(t *testing.T) {
	capturedByTLS(t, postgrestest.Start(t))
}

func capturedByTLS(t *testing.T, c *postgrestest.Cluster) {
	dir := t.TempDir()
	a := newAuthority(t, dir, "harbour")
	c.Superuser(t, "CREATE ROLE sailor LOGIN REPLICATION")
	speakTLS(t, c, a, &x509.Certificate{DNSNames: []string{"localhost"}})
	cert, key := a.sign("sailor", &x509.Certificate{Subject: pkix.Name{CommonName: "sailor"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	to := fmt.Sprintf("host=localhost port=%d dbname=app sslmode=verify-full sslrootcert=%s ", c.Port, a.root())
	for name, way := range map[string]struct{ connect, passwordFile string }{
		"password":                       {to + "user=kedge", c.PasswordFile},
		"password bound to this channel": {to + "user=kedge channel_binding=require require_auth=scram-sha-256", c.PasswordFile},
		"certificate":                    {to + "user=sailor sslcert=" + cert + " sslkey=" + key, ""},
	} {
		t.Run(name, func(t *testing.T) {
			declared := declare(c)
			declared.Connect, declared.PasswordFile = way.connect, way.passwordFile
			p, err := Open(t.Context(), "gisis", declared, filepath.Join(t.TempDir(), "spool"))
			if err != nil {
				t.Fatal(err)
			}
			r := newRepository(t)
			stop := stream(t, p)
			base(t, p, r)
			flush(t, p, r)
			conn, err := dial(t.Context(), way.connect, way.passwordFile, false)
			if err != nil {
				t.Fatal(err)
			}
			defer hangUp(t.Context(), conn)
			row, err := queryRow(t.Context(), conn, "SELECT count(*), bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE usename = current_user", 2)
			if err != nil || row[0] < "2" || row[1] != "t" {
				t.Errorf("connections and whether all are encrypted: %v, %v", row, err)
			}
			stop()
		})
	}
}

func TestServerThatCannotBeTrustedIsRefused(t *testing.T) {
	c := postgrestest.Start(t)
	plain := c.Connect
	if _, err := dial(t.Context(), strings.Replace(plain, "sslmode=disable", "sslmode=require", 1), c.PasswordFile, true); err == nil || !strings.Contains(err.Error(), "ssl = on") {
		t.Errorf("a server without TLS: %v", err)
	}
	dir := t.TempDir()
	a, other := newAuthority(t, dir, "harbour"), newAuthority(t, dir, "pirates")
	c.Superuser(t, "CREATE ROLE sailor LOGIN REPLICATION")
	speakTLS(t, c, a, &x509.Certificate{DNSNames: []string{"localhost"}})
	client := &x509.Certificate{Subject: pkix.Name{CommonName: "sailor"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	foreign, foreignKey := other.sign("foreign", client)
	client.Subject.CommonName = "cook"
	cook, cookKey := a.sign("cook", client)

	client.Subject.CommonName, client.NotAfter = "sailor", time.Now().Add(-time.Minute)
	old, oldKey := a.sign("old", client)

	to := fmt.Sprintf("port=%d dbname=app ", c.Port)
	for name, test := range map[string]struct {
		connect string
		want    []string
	}{
		"another authority":              {"host=localhost user=kedge sslmode=verify-full sslrootcert=" + other.root(), []string{"unknown authority", "sslrootcert must name"}},
		"another authority, verify-ca":   {"host=localhost user=kedge sslmode=verify-ca sslrootcert=" + other.root(), []string{"unknown authority", "sslrootcert must name"}},
		"another name":                   {"host=127.0.0.1 user=kedge sslmode=verify-full sslrootcert=" + a.root(), []string{"127.0.0.1", "host must be a name"}},
		"an authority that is no file":   {"host=localhost user=kedge sslmode=verify-full sslrootcert=" + a.root() + "x", []string{"read connection string", "harbour.crtx: no such file"}},
		"no TLS":                         {"host=localhost user=kedge sslmode=disable", []string{"no pg_hba.conf entry", "no encryption"}},
		"no certificate":                 {"host=localhost user=sailor sslmode=verify-full sslrootcert=" + a.root(), []string{"valid client certificate"}},
		"another user's certificate":     {"host=localhost user=sailor sslmode=verify-full sslrootcert=" + a.root() + " sslcert=" + cook + " sslkey=" + cookKey, []string{"certificate authentication failed"}},
		"a certificate of somebody":      {"host=localhost user=sailor sslmode=verify-full sslrootcert=" + a.root() + " sslcert=" + foreign + " sslkey=" + foreignKey, []string{"valid client certificate"}},
		"a certificate that has run out": {"host=localhost user=sailor sslmode=verify-full sslrootcert=" + a.root() + " sslcert=" + old + " sslkey=" + oldKey, []string{"expired", "sslcert and sslkey must name"}},
		"no password where one is due":   {"host=localhost user=kedge sslmode=verify-full require_auth=none sslrootcert=" + a.root(), []string{"require_auth", "ways to sign in"}},
		"a channel without binding":      {"host=localhost user=postgres sslmode=disable channel_binding=require", []string{"channel binding"}},
	} {
		conn, err := dial(t.Context(), to+test.connect, c.PasswordFile, false)
		if err == nil {
			hangUp(t.Context(), conn)
			t.Errorf("%s: connected", name)
			continue
		}
		for _, want := range test.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: error does not say %q: %v", name, want, err)
			}
		}
		if strings.Contains(err.Error(), "anchor and chain") {
			t.Errorf("%s: the error tells the password: %v", name, err)
		}
	}

	speakTLS(t, c, a, &x509.Certificate{DNSNames: []string{"localhost"}, NotAfter: time.Now().Add(-time.Minute)})
	_, err := dial(t.Context(), to+"host=localhost user=kedge sslmode=verify-full sslrootcert="+a.root(), c.PasswordFile, true)
	if err == nil || !strings.Contains(err.Error(), "expired") || !strings.Contains(err.Error(), "another certificate") {
		t.Errorf("a certificate that has run out: %v", err)
	}
}
