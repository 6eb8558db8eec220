package example

import (
	"bytes"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"html/template"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"strings"

	"github.com/kedge-project/kedge/internal/estate"
	"github.com/kedge-project/kedge/internal/exercise/document"
)

// nginxConfig is a whole configuration for an unprivileged nginx that writes below one directory alone.
const nginxConfig = `worker_processes 1;
pid %[1]s/run/nginx.master.pid;
error_log stderr warn;
events { worker_connections 256; }
http {
	types {
		text/html html; text/css css; text/javascript js; image/png png; image/jpeg jpg; text/plain txt;
	}
	default_type application/octet-stream;
	client_body_temp_path %[1]s/run/body;
	proxy_temp_path %[1]s/run/proxy;
	fastcgi_temp_path %[1]s/run/fastcgi;
	uwsgi_temp_path %[1]s/run/uwsgi;
	scgi_temp_path %[1]s/run/scgi;
	client_max_body_size 10m;
	access_log %[1]s/log/access.log combined;
	server {
		listen %[2]s;
		root %[1]s/html;
%[3]s	}
}
`

// nginx writes a configuration and declares the process. extra are lines of the server block.
func (b *builder) nginx(service, address, extra string) (estate.Process, error) {
	config := b.home(service, "conf", "nginx.conf")
	if err := os.WriteFile(config, fmt.Appendf(nil, nginxConfig, b.home(service), address, extra), 0o600); err != nil {
		return estate.Process{}, err
	}
	p := b.process(service, "nginx", []string{
		b.programs.nginx, "-e", "stderr", "-p", b.home(service) + "/", "-c", config, "-g", "daemon off;",
	}, []string{address})
	p.StopSignal = "SIGTERM"
	p.Relocate = []string{config}
	return p, nil
}

// publications builds the reader: the application, and nginx in front of it, which serves covers itself.
func (b *builder) publications() (estate.Service, error) {
	const name, reader = "publications", "editor"
	s := b.service(name, "Publications")
	s.Key = true
	html, books, uploads := b.home(name, "html"), b.home(name, "books"), b.home(name, "html", "uploads")
	if err := directories(b.home(name, "conf"), b.home(name, "log"), b.home(name, "run"), books, uploads); err != nil {
		return s, err
	}
	if err := b.writeBooks(books); err != nil {
		return s, err
	}
	if err := b.writePictures(uploads, "cover", 10); err != nil {
		return s, err
	}
	if err := os.WriteFile(filepath.Join(html, "style.css"), []byte(styleSheet), 0o644); err != nil {
		return s, err
	}
	passwordFile := b.home(name, "conf", reader+".password")
	password, err := newPassword(passwordFile)
	if err != nil {
		return s, err
	}
	users := b.home(name, "conf", "users")
	if err := writeUser(users, reader, password); err != nil {
		return s, err
	}

	_, front, err := b.ports.take()
	if err != nil {
		return s, err
	}
	_, behind, err := b.ports.take()
	if err != nil {
		return s, err
	}
	config := b.home(name, "conf", "application.json")
	if err := configure(config, map[string]string{"listen": behind, "users": users, "documents": books, "uploads": uploads}); err != nil {
		return s, err
	}
	application := b.process(name, "application", []string{b.opt.Kedge, "application", name, config}, []string{behind})
	application.Relocate = []string{config}
	nginx, err := b.nginx(name, front, "\t\tlocation / { proxy_pass http://"+behind+"; proxy_redirect off; proxy_set_header Host $http_host; }\n"+
		"\t\tlocation /uploads/ { }\n\t\tlocation = /style.css { }\n")
	if err != nil {
		return s, err
	}
	s.Processes = []estate.Process{application, nginx}
	site := "http://" + front
	form := map[string]string{"user": reader, "password": "{password}"}
	s.Probes = []estate.Probe{
		{Name: "sign-in", Kind: "http", URL: site + "/sign-in", Expect: "<h1>Sign in</h1>"},
		{Name: "shelf", Kind: "http", URL: site + "/", SignIn: site + "/sign-in", Form: form, PasswordFile: passwordFile, Expect: "SOLAS-guide/chapter-01"},
		{Name: "chapter", Kind: "http", URL: site + "/read/SOLAS-guide/chapter-01", SignIn: site + "/sign-in", Form: form, PasswordFile: passwordFile, Expect: "Chapter 1"},
		{Name: "cover", Kind: "http", URL: site + "/uploads/cover-01.jpg"},
	}
	s.Watch = estate.Watch{DocumentRoot: html, Pages: []string{site + "/sign-in"}, AccessLogs: []string{b.home(name, "log", "access.log")}}
	return s, nil
}

// writeUser writes a users file as the application reads it: name:rounds:salt:hash.
func writeUser(file, name, password string) error {
	const rounds = 10_000
	salt := make([]byte, 16)
	rand.Read(salt)
	hash, err := pbkdf2.Key(sha256.New, password, salt, rounds, sha256.Size)
	if err != nil {
		return err
	}
	return os.WriteFile(file, fmt.Appendf(nil, "%s:%d:%x:%x\n", name, rounds, salt, hash), 0o600)
}

var bookTitles = []string{"SOLAS-guide", "MARPOL-guide", "STCW-handbook", "IMDG-reader", "SAR-manual"}

func (b *builder) writeBooks(dir string) error {
	for n, title := range bookTitles {
		if err := os.Mkdir(filepath.Join(dir, title), 0o755); err != nil {
			return err
		}
		for chapter := 1; chapter <= 12; chapter++ {
			r := mathrand.New(mathrand.NewPCG(b.opt.Seed, uint64(n*100+chapter)<<8|5))
			var page bytes.Buffer
			if err := chapterPage.Execute(&page, struct {
				Number int
				Text   document.Text
			}{chapter, document.Compose(r, "E", 6+r.IntN(8))}); err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(dir, title, fmt.Sprintf("chapter-%02d.html", chapter)), page.Bytes(), 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *builder) writePictures(dir, name string, count int) error {
	for n := 1; n <= count; n++ {
		r := mathrand.New(mathrand.NewPCG(b.opt.Seed, uint64(len(name)*1000+n)<<8|6))
		data, err := document.JPEG(r, 320, 200)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%s-%02d.jpg", name, n)), data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// siteParts are the parts of the web site and how many pages each has.
var siteParts = []struct {
	Dir, Title string
	pages      int
}{{"about", "About us", 10}, {"safety", "Maritime safety", 14}, {"environment", "Marine environment", 14}, {"news", "Press briefings", 20}, {"contact", "Contact", 4}}

// website builds the public site: static pages behind nginx.
func (b *builder) website() (estate.Service, error) {
	const name = "website"
	s := b.service(name, "Public web site")
	s.Key = true
	html := b.home(name, "html")
	if err := directories(b.home(name, "conf"), b.home(name, "log"), b.home(name, "run"), filepath.Join(html, "images")); err != nil {
		return s, err
	}
	_, address, err := b.ports.take()
	if err != nil {
		return s, err
	}
	pages, err := b.writeSite(html)
	if err != nil {
		return s, err
	}
	nginx, err := b.nginx(name, address, "\t\tindex index.html;\n")
	if err != nil {
		return s, err
	}
	s.Processes = []estate.Process{nginx}
	s.Probes = []estate.Probe{
		{Name: "home", Kind: "http", URL: "http://" + address + "/", Expect: "<title>Welcome – Maritime Organization</title>"},
		{Name: "page", Kind: "http", URL: "http://" + address + "/news/page-01.html", Expect: "Press briefings"},
		{Name: "script", Kind: "http", URL: "http://" + address + "/site.js", Expect: "querySelectorAll"},
	}
	s.Watch = estate.Watch{DocumentRoot: html, AccessLogs: []string{b.home(name, "log", "access.log")}}
	for _, page := range pages {
		s.Watch.Pages = append(s.Watch.Pages, "http://"+address+"/"+strings.TrimSuffix(page, "index.html"))
	}
	return s, nil
}

// writeSite writes the pages with their style sheet, script and pictures, and returns the pages' paths.
func (b *builder) writeSite(html string) ([]string, error) {
	if err := b.writePictures(filepath.Join(html, "images"), "photo", 12); err != nil {
		return nil, err
	}
	for file, content := range map[string]string{"style.css": styleSheet, "site.js": siteScript, "robots.txt": "User-agent: *\nAllow: /\n"} {
		if err := os.WriteFile(filepath.Join(html, file), []byte(content), 0o644); err != nil {
			return nil, err
		}
	}
	var pages []string
	write := func(path, title string, n int) error {
		r := mathrand.New(mathrand.NewPCG(b.opt.Seed, uint64(n)<<8|7))
		var page bytes.Buffer
		if err := sitePage.Execute(&page, struct {
			Title   string
			Parts   any
			Picture string
			Text    document.Text
		}{title, siteParts, fmt.Sprintf("/images/photo-%02d.jpg", 1+n%12), document.Compose(r, "E", 2+r.IntN(4))}); err != nil {
			return err
		}
		pages = append(pages, path)
		file := filepath.Join(html, path)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		return os.WriteFile(file, page.Bytes(), 0o644)
	}
	if err := write("index.html", "Welcome", 0); err != nil {
		return nil, err
	}
	for _, part := range siteParts {
		for n := 1; n <= part.pages; n++ {
			if err := write(fmt.Sprintf("%s/page-%02d.html", part.Dir, n), part.Title, len(pages)); err != nil {
				return nil, err
			}
		}
	}
	return pages, nil
}

var chapterPage = template.Must(template.New("chapter").Parse(`<h2>Chapter {{.Number}}: {{.Text.Title}}</h2>
{{range .Text.Sections}}<h3>{{.Heading}}</h3>
{{range .Paragraphs}}<p>{{.}}</p>
{{end}}{{end}}`))

var sitePage = template.Must(template.New("page").Parse(`<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{{.Title}} – Maritime Organization</title>
<link rel="stylesheet" href="/style.css">
<script src="/site.js" defer></script>
</head>
<body>
<header><a href="/">Maritime Organization</a></header>
<nav><ul>{{range .Parts}}<li><a href="/{{.Dir}}/page-01.html">{{.Title}}</a></li>{{end}}</ul></nav>
<main>
<h1>{{.Text.Title}}</h1>
<img src="{{.Picture}}" alt="A ship at sea" width="320" height="200">
{{range .Text.Sections}}<h2>{{.Heading}}</h2>
{{range .Paragraphs}}<p>{{.}}</p>
{{end}}{{end}}</main>
<footer>Safe, secure and efficient shipping on clean oceans</footer>
</body>
</html>
`))

const styleSheet = `body { font-family: sans-serif; margin: 0 auto; max-width: 60em; color: #123; }
header { background: #1f3a5f; padding: 1em; } header a { color: #fff; text-decoration: none; font-size: 1.4em; }
nav ul { display: flex; gap: 1em; list-style: none; padding: .5em 1em; background: #e8eef4; }
main { padding: 0 1em; } footer { padding: 1em; color: #567; border-top: 1px solid #ccd; }
`

const siteScript = `// Marks the part of the site that the reader is in.
for (const link of document.querySelectorAll("nav a")) {
	const part = new URL(link.href).pathname.split("/")[1];
	if (location.pathname.startsWith("/" + part + "/")) link.setAttribute("aria-current", "true");
}
`
