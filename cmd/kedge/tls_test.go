package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kedge-project/kedge/backend/local"
	"github.com/kedge-project/kedge/backend/rest"
)

// authority signs the certificates of a test.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// issue makes a certificate, signed by the authority, and returns it and its key in PEM. Without one it signs itself.
func (a *authority) issue(name string) (certPEM, keyPEM []byte) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, BasicConstraintsValid: true, IsCA: a.cert == nil,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if a.cert == nil {
		a.cert, a.key = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, a.cert, &key.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	if a.cert == c {
		if a.cert, err = x509.ParseCertificate(der); err != nil {
			a.t.Fatal(err)
		}
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})
}

// tlsServer serves a new directory to whoever has a certificate of the authority, and to nobody else if strict.
func tlsServer(t *testing.T, a *authority, strict bool) (location string) {
	t.Helper()
	be, err := local.Create(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(a.issue("server"))
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(rest.Handler(be, rest.ReadWrite))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: x509.NewCertPool()}
	server.TLS.ClientCAs.AddCert(a.cert)
	if strict {
		server.TLS.ClientAuth = tls.RequireAndVerifyClientCert
	}
	server.StartTLS()
	t.Cleanup(server.Close)
	return "rest:" + server.URL + "/"
}

func write(t *testing.T, path string, parts ...[]byte) string {
	t.Helper()
	var all []byte
	for _, p := range parts {
		all = append(all, p...)
	}
	if err := os.WriteFile(path, all, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestAServerIsTrustedForItsCertificateOnly(t *testing.T) {
	dir := t.TempDir()
	a, stranger := &authority{t: t}, &authority{t: t}
	rootPEM, rootKey := a.issue("authority")
	root := write(t, filepath.Join(dir, "root.pem"), rootPEM)
	otherPEM, _ := stranger.issue("stranger")
	other := write(t, filepath.Join(dir, "other.pem"), otherPEM)
	client := write(t, filepath.Join(dir, "client.pem"), rootPEM[:0])
	certPEM, keyPEM := a.issue("client")
	write(t, client, certPEM, keyPEM)
	keyOnly := write(t, filepath.Join(dir, "key.pem"), rootKey)

	t.Setenv("KEDGE_PASSWORD", "correct horse")
	t.Setenv("RESTIC_PASSWORD", "correct horse")
	t.Setenv("RESTIC_CACHE_DIR", dir)
	strict, open := tlsServer(t, a, true), tlsServer(t, a, false)
	for _, c := range []struct {
		what     string
		location string
		args     []string
		says     string // "" if the command succeeds
	}{
		{"no root", open, nil, "give its certificate with --cacert"},
		{"another's root", open, []string{"--cacert", other}, "give its certificate with --cacert"},
		{"a root that is none", open, []string{"--cacert", keyOnly}, "holds no certificate in PEM"},
		{"a root that is not there", open, []string{"--cacert", dir + "/none"}, "read --cacert"},
		{"the root", open, []string{"--cacert", root}, ""},
		{"one of two roots", open, []string{"--cacert", other, "--cacert", root}, ""},
		{"no verification", open, []string{"--insecure-tls"}, ""},
		{"no client certificate", strict, []string{"--cacert", root}, "certificate required"},
		{"a client certificate without its key", strict, []string{"--cacert", root, "--tls-client-cert", root}, "must hold the certificate and its private key"},
		{"a client certificate", strict, []string{"--cacert", root, "--tls-client-cert", client}, ""},
	} {
		args := append([]string{"cat", "config", "-r", c.location}, c.args...)
		if c.says == "" { // the first that gets through makes the repository
			_, _ = kedge(t, append([]string{"init", "-r", c.location}, c.args...)...)
		}
		begin := time.Now()
		status, out := kedge(t, args...)
		if (status == exitDone) != (c.says == "") || !strings.Contains(out, c.says) {
			t.Errorf("%s: status %d, want it to say %q:\n%s", c.what, status, c.says, out)
		}
		if strings.Contains(out, "trying again") {
			t.Errorf("%s: tried again for %v, though nothing will change:\n%s", c.what, time.Since(begin), out)
		}
	}

	// The variables are restic's, and restic reads through the same server.
	t.Setenv("RESTIC_CACERT", root)
	t.Setenv("RESTIC_TLS_CLIENT_CERT", client)
	if status, out := kedge(t, "cat", "config", "-r", strict); status != exitDone {
		t.Errorf("with the variables: status %d:\n%s", status, out)
	}
	if out, err := exec.CommandContext(t.Context(), "restic", "-r", strict, "cat", "config", "--cacert", root, "--tls-client-cert", client).CombinedOutput(); err != nil {
		t.Errorf("restic: %v:\n%s", err, out)
	}
}
