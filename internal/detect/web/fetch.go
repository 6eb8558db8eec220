package web

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/kedge-project/kedge/internal/content"
)

// Persona is one kind of visitor. Those who plant watering holes show them to some kinds only.
type Persona struct {
	Name      string
	UserAgent string
	Referrer  string
}

// personas are whom pages are fetched as. The first is an ordinary visitor.
var personas = []Persona{
	{Name: "visitor", UserAgent: "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"},
	{Name: "searcher", UserAgent: "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36", Referrer: "https://www.google.com/"},
	{Name: "crawler", UserAgent: "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"},
	{Name: "mobile", UserAgent: "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 Mobile/15E148 Safari/604.1"},
}

const (
	// fetchTimeout bounds one answer, from the first byte asked to the last read: a site that is slower, or drips, counts as
	// down, which is for probes to say.
	fetchTimeout = 10 * time.Second
	// maxRedirects is how far a page may send its visitors on.
	maxRedirects = 5
	// maxFile is how much of a script or style sheet is read, in bytes, and maxDownload of a download.
	maxSource   = 4 << 20
	maxDownload = 32 << 20
	// maxClaim is how much of an answer that is no page is searched for a defacer's boast, in bytes.
	maxClaim = 64 << 10
)

// errDown says that a page gave no answer that could be compared.
var errDown = errors.New("page does not answer")

// Certificate is what a site proved itself with.
type Certificate struct {
	Key     string `json:"key"`     // SHA-256 of its SubjectPublicKeyInfo, hex
	Issuer  string `json:"issuer"`  // distinguished name
	Trusted bool   `json:"trusted"` // by this machine's authorities, for the name asked
}

// visit is what a persona was answered.
type visit struct {
	persona     string
	origin      string // that answered in the end, scheme://host
	page        content.Page
	headers     http.Header
	certificate *Certificate
}

// fetcher asks as a visitor's browser would, but keeps nothing between two answers.
type fetcher struct {
	client *http.Client
}

// newFetcher returns a fetcher. With direct, host:port, all names lead there.
func newFetcher(direct string) *fetcher {
	dialer := &net.Dialer{Timeout: fetchTimeout}
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			if direct != "" {
				address = direct
			}
			return dialer.DialContext(ctx, network, address)
		},
		TLSHandshakeTimeout: fetchTimeout, MaxResponseHeaderBytes: 256 << 10, MaxIdleConnsPerHost: 4, IdleConnTimeout: 10 * time.Second,
		// Whom a certificate names is compared, not required: nothing secret is sent, and a page behind one that is not
		// trusted must be seen to be judged.
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
	}
	client := &http.Client{
		Transport: transport, Timeout: fetchTimeout,
		CheckRedirect: func(_ *http.Request, via []*http.Request) error {
			if len(via) > maxRedirects {
				return fmt.Errorf("redirected more than %d times", maxRedirects)
			}
			return nil
		},
	}
	return &fetcher{client: client}
}

func (f *fetcher) get(ctx context.Context, address string, as Persona) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, fmt.Errorf("read the address: %w", err)
	}
	req.Header.Set("User-Agent", as.UserAgent)
	req.Header.Set("Accept", "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8")
	req.Header.Set("Accept-Language", "en")
	if as.Referrer != "" {
		req.Header.Set("Referer", as.Referrer)
	}
	resp, err := f.client.Do(req)
	if err != nil {
		return nil, down(ctx, err)
	}
	return resp, nil
}

// down tells a site that does not answer from the end of ctx.
func down(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var late net.Error
	if errors.As(err, &late) && late.Timeout() {
		return fmt.Errorf("%w: not within %v", errDown, fetchTimeout)
	}
	return fmt.Errorf("%w: %w", errDown, err)
}

// visit reads a page as a persona; errDown if there is no usual answer.
func (f *fetcher) visit(ctx context.Context, address string, as Persona) (visit, error) {
	resp, err := f.get(ctx, address, as)
	if err != nil {
		return visit{}, err
	}
	defer resp.Body.Close()
	base := resp.Request.URL
	v := visit{
		persona: as.Name, origin: (&url.URL{Scheme: base.Scheme, Host: base.Host}).String(), headers: resp.Header,
		certificate: certificateOf(resp.TLS, base.Hostname()),
	}
	if resp.StatusCode != http.StatusOK {
		return visit{}, notUsual(ctx, resp)
	}
	if v.page, err = content.ParsePage(resp.Body, base); err != nil {
		return visit{}, down(ctx, err)
	}
	return v, nil
}

// errBoast is a visit's error if an answer that is no usual one says that somebody took the site over.
var errBoast = errors.New("the answer says that somebody took the site over")

func notUsual(ctx context.Context, resp *http.Response) error {
	page, err := content.ParsePage(io.LimitReader(resp.Body, maxClaim), nil)
	if err == nil && page.Claims && ctx.Err() == nil {
		return fmt.Errorf("%w, with status %s: %q", errBoast, resp.Status, page.Title)
	}
	return fmt.Errorf("%w: status %s", errDown, resp.Status)
}

// file reads a script, a style sheet or a download. One that is known is not looked into again.
func (f *fetcher) file(ctx context.Context, address, kind string, as Persona, known []content.Code) (content.Code, error) {
	resp, err := f.get(ctx, address, as)
	if err != nil {
		return content.Code{}, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return content.Code{}, fmt.Errorf("%w: status %s", errDown, resp.Status)
	}
	if kind == "download" {
		sum := sha256.New()
		if _, err := io.Copy(sum, io.LimitReader(resp.Body, maxDownload)); err != nil {
			return content.Code{}, down(ctx, err)
		}
		return content.Code{Kind: kind, Hash: hex.EncodeToString(sum.Sum(nil)), Form: kind}, nil
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxSource))
	if err != nil {
		return content.Code{}, down(ctx, err)
	}
	data = bytes.ToValidUTF8(data, nil)
	hash := hashOf(data)
	if i := slices.IndexFunc(known, func(c content.Code) bool { return c.Hash == hash }); i >= 0 {
		return known[i], nil
	}
	text := string(data)
	if kind == "style" {
		return content.ReadStyle(text, resp.Request.URL), nil
	}
	return content.ReadCode("file", text), nil
}

func certificateOf(state *tls.ConnectionState, host string) *Certificate {
	if state == nil || len(state.PeerCertificates) == 0 {
		return nil
	}
	leaf := state.PeerCertificates[0]
	sum := sha256.Sum256(leaf.RawSubjectPublicKeyInfo)
	between := x509.NewCertPool()
	for _, c := range state.PeerCertificates[1:] {
		between.AddCert(c)
	}
	_, err := leaf.Verify(x509.VerifyOptions{DNSName: strings.Trim(host, "[]"), Intermediates: between})
	return &Certificate{Key: hex.EncodeToString(sum[:]), Issuer: leaf.Issuer.String(), Trusted: err == nil}
}
