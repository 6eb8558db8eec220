package s3

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"

	"github.com/minio/minio-go/v7"

	"github.com/kedge-project/kedge/backend"
)

// code returns the server's word for what went wrong, "" if err did not come from the server.
func code(err error) string {
	var refused minio.ErrorResponse
	if errors.As(err, &refused) {
		return refused.Code
	}
	return ""
}

// explain adds what the operator can do, and the sentinels of package backend.
func (b *Backend) explain(err error) error {
	var refused minio.ErrorResponse
	if !errors.As(err, &refused) {
		if errors.As(err, new(*tls.CertificateVerificationError)) {
			err = fmt.Errorf("%w; if the server has an authority of its own, give its certificate with --cacert", err)
		}
		return err
	}
	switch refused.Code {
	case minio.NoSuchKey:
		return backend.ErrNotExist
	case minio.NoSuchBucket:
		return fmt.Errorf("bucket %s: %w (check the location; kedge init makes the bucket)", b.loc.Bucket, backend.ErrNotExist)
	case minio.InvalidAccessKeyID, minio.SignatureDoesNotMatch, "XAdminUserNotFound": // the last is versitygw's
		return denied(err, "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
	case "ExpiredToken", "ExpiredTokenException", "InvalidToken", "TokenRefreshRequired":
		return denied(err, "get new temporary credentials, and set AWS_SESSION_TOKEN with them")
	case minio.AccessDenied, "AllAccessDisabled", "AccountProblem":
		return denied(err, "give the credentials the rights to list, get, put and delete in bucket "+b.loc.Bucket)
	case minio.RequestTimeTooSkewed:
		return denied(err, "set the clock of this machine")
	case minio.AuthorizationHeaderMalformed, minio.InvalidRegion, "IllegalLocationConstraintException", "PermanentRedirect":
		if refused.Region != "" {
			return denied(err, "set AWS_DEFAULT_REGION="+refused.Region)
		}
		return denied(err, "set AWS_DEFAULT_REGION to the bucket's region")
	case "XAmzContentSHA256Mismatch", minio.BadDigest, minio.InvalidDigest:
		return fmt.Errorf("the server got other bytes than the name promises: %w", err)
	}
	return fmt.Errorf("%w (%s)", err, refused.Code)
}

func denied(err error, remedy string) error {
	return fmt.Errorf("%w: %w (%s)", fs.ErrPermission, err, remedy)
}

// fail names the operation and the file.
func (b *Backend) fail(op string, h backend.Handle, err error) error {
	return fmt.Errorf("%s %v: %w", op, h, b.explain(err))
}
