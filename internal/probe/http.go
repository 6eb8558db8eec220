package probe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"

	"github.com/kedge-project/kedge/internal/estate"
)

// passwordMark in a form value stands for the content of the probe's password file.
const passwordMark = "{password}"

// askHTTP signs in, if the probe says how, and asks for a page. Redirects are followed, but where a redirect
// is itself the right answer.
func askHTTP(ctx context.Context, p estate.Probe) error {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return fmt.Errorf("make cookie jar: %w", err)
	}
	// One connection for one question; a proxy from the environment could answer for the service.
	transport := &http.Transport{DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	client := &http.Client{Jar: jar, Transport: transport}

	if p.SignIn != "" {
		if err := signIn(ctx, client, p); err != nil {
			return fmt.Errorf("sign in: %w", err)
		}
	}
	want := http.StatusOK
	if p.Status != 0 {
		want = p.Status
	}
	if want >= 300 && want < 400 {
		client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.URL, nil)
	if err != nil {
		return err
	}
	status, body, err := do(client, request)
	if err != nil {
		return err
	}
	if status != want {
		return fmt.Errorf("%s answered with status %d, not %d", request.URL.Redacted(), status, want)
	}
	return compare(p, body)
}

func signIn(ctx context.Context, client *http.Client, p estate.Probe) error {
	form := url.Values{}
	for name, value := range p.Form {
		if strings.Contains(value, passwordMark) {
			password, err := readPassword(p.PasswordFile)
			if err != nil {
				return err
			}
			value = strings.ReplaceAll(value, passwordMark, password)
		}
		form.Set(name, value)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, p.SignIn, strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	status, _, err := do(client, request)
	if err != nil {
		return err
	}
	if status >= 400 {
		return fmt.Errorf("%s answered with status %d", request.URL.Redacted(), status)
	}
	return nil
}

func do(client *http.Client, request *http.Request) (int, []byte, error) {
	if request.URL.Scheme != "http" && request.URL.Scheme != "https" || request.URL.Host == "" {
		return 0, nil, errors.New("the URL must begin with http://host or https://host")
	}
	response, err := client.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return 0, nil, fmt.Errorf("read the answer of %s: %w", request.URL.Redacted(), err)
	}
	return response.StatusCode, body, nil
}
