package vault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/kedge-project/kedge/internal/event"
)

// operation is Vault's or Client's Pull or Verify.
type operation func(ctx context.Context, name string) (event.CopyVerified, error)

// maxAnswer bounds an answer, in bytes.
const maxAnswer = 8 << 20

// Client asks a vault. It is a value; its methods may be called by several goroutines at once. A pull or a
// verification takes as long as ctx allows.
type Client struct {
	URL       string // http://host:port or https://host
	TokenFile string // the operator's; for Status the reader's does too
}

// Pull makes the vault pull the named source now. On an error the result holds what the vault said was done.
func (c Client) Pull(ctx context.Context, name string) (event.CopyVerified, error) {
	return c.ask(ctx, "pull", name)
}

// Verify makes the vault read its copy again and compare every file with its name; likewise.
func (c Client) Verify(ctx context.Context, name string) (event.CopyVerified, error) {
	return c.ask(ctx, "verify", name)
}

// Status asks how the vault's copies and its witness stand.
func (c Client) Status(ctx context.Context) (Status, error) {
	var st Status
	if _, err := c.do(ctx, http.MethodGet, &st, "status"); err != nil {
		return Status{}, fmt.Errorf("ask vault for its status: %w", err)
	}
	return st, nil
}

func (c Client) ask(ctx context.Context, verb, name string) (event.CopyVerified, error) {
	if !validName.MatchString(name) {
		return event.CopyVerified{}, fmt.Errorf("ask vault to %s %.80q: not a repository's name", verb, name)
	}
	var fact event.CopyVerified
	failure, err := c.do(ctx, http.MethodPost, &fact, verb, name)
	if err != nil {
		return failure.Copy, fmt.Errorf("ask vault to %s %s: %w", verb, name, err)
	}
	return fact, nil
}

// do sends a request and decodes a good answer into value. A Failure is an error, and returned besides.
func (c Client) do(ctx context.Context, method string, value any, path ...string) (Failure, error) {
	t, err := readToken(c.TokenFile)
	if err != nil {
		return Failure{}, err
	}
	u, err := url.Parse(c.URL)
	if err != nil || u.Host == "" {
		return Failure{}, errors.New("the vault's address is not http://host:port or https://host")
	}
	req, err := http.NewRequestWithContext(ctx, method, u.JoinPath(path...).String(), nil)
	if err != nil {
		return Failure{}, err
	}
	req.Header.Set("Authorization", "Bearer "+t)
	// A redirect could carry the token elsewhere.
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.Do(req)
	if err != nil {
		return Failure{}, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return Failure{}, fmt.Errorf("read answer: %w", err)
	}
	if res.StatusCode != http.StatusOK {
		var failure Failure
		if json.Unmarshal(body, &failure) != nil || failure.Error == "" {
			failure = Failure{Error: fmt.Sprintf("%s: %.200s", res.Status, body)}
		}
		return failure, errors.New(failure.Error)
	}
	if err := json.Unmarshal(body, value); err != nil {
		return Failure{}, fmt.Errorf("read answer: %w", err)
	}
	return Failure{}, nil
}
