package postgres

import (
	"crypto/x509"
	"errors"
	"net"

	"github.com/jackc/pgx/v5/pgconn"
)

// connectRemedy says what to do about a connection on which the server said nothing of its own.
func connectRemedy(config *pgconn.Config, err error) string {
	var authority x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	var network *net.OpError
	switch {
	case errors.As(err, &authority):
		return "sslrootcert must name the file of the authority that signed the server's certificate; if that did not change, something else answers there"
	case errors.As(err, &name):
		return "host must be a name that the server's certificate is for; if neither changed, something else answers there"
	case errors.As(err, &invalid):
		return "the server needs another certificate"
	case errors.As(err, &network) && network.Op == "remote error": // as crypto/tls calls what the other side complains of
		return "sslcert and sslkey must name a certificate that the server takes: signed by an authority in its ssl_ca_file, and not run out"
	case network != nil || config.TLSConfig == nil:
		return "is the server up, and does it listen there?"
	}
	return "does the server have ssl = on, and does it take the ways to sign in that the connection string asks for?"
}
