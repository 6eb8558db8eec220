package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"

	"github.com/spf13/pflag"
)

// tlsFlags say whom to trust, and who to be, where storage is reached over https.
type tlsFlags struct {
	roots      []string // files of certificates, to trust instead of the system's
	clientCert string   // file of a certificate and its private key
	insecure   bool
}

// tlsFromEnvironment is what the flags are without being given.
func tlsFromEnvironment() tlsFlags {
	f := tlsFlags{clientCert: environment("TLS_CLIENT_CERT")}
	if file := environment("CACERT"); file != "" {
		f.roots = []string{file}
	}
	return f
}

func (f *tlsFlags) add(flags *pflag.FlagSet) {
	given := tlsFromEnvironment()
	flags.StringArrayVar(&f.roots, "cacert", given.roots, "file of certificates in PEM that sign the server's, to trust instead of the system's (repeatable; $RESTIC_CACERT)")
	flags.StringVar(&f.clientCert, "tls-client-cert", given.clientCert, "file of a client certificate and its private key in PEM ($RESTIC_TLS_CLIENT_CERT)")
	flags.BoolVar(&f.insecure, "insecure-tls", false, "do not verify the server's certificate: whoever stands between can read the token and delete what it allows to")
}

// config returns what the flags say, nil if they say nothing.
func (f tlsFlags) config() (*tls.Config, error) {
	if len(f.roots) == 0 && f.clientCert == "" && !f.insecure {
		return nil, nil
	}
	conf := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: f.insecure}
	for _, file := range f.roots {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("read --cacert: %w", err)
		}
		if conf.RootCAs == nil {
			conf.RootCAs = x509.NewCertPool()
		}
		if !conf.RootCAs.AppendCertsFromPEM(data) {
			return nil, fmt.Errorf("read --cacert %s: it holds no certificate in PEM", file)
		}
	}
	if f.clientCert != "" {
		data, err := os.ReadFile(f.clientCert)
		if err != nil {
			return nil, fmt.Errorf("read --tls-client-cert: %w", err)
		}
		cert, err := tls.X509KeyPair(data, data)
		if err != nil {
			return nil, fmt.Errorf("read --tls-client-cert %s: %w; it must hold the certificate and its private key, both in PEM", f.clientCert, err)
		}
		conf.Certificates = []tls.Certificate{cert}
	}
	return conf, nil
}
