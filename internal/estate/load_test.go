package estate

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// example uses every field.
const example = `# The estate of an example organisation.
name: example
state: /var/lib/kedge
sites:
  - {name: london, role: headquarters}
  - name: geneva
    role: vault
repositories:
  - name: main
    site: london
    location: /srv/backup/main
    password_file: /etc/kedge/main.password
    copy:
      site: geneva
      location: rest:http://127.0.0.1:8000/main/
      token_file: /etc/kedge/geneva.token
services:
  - name: gisis
    title: Global Integrated Shipping Information System
    key: true
    repository: main
    assets:
      - name: cluster
        kind: postgres
        connect: host=127.0.0.1 port=5432 user=kedge dbname=postgres
        password_file: /etc/kedge/gisis.password
        data: /var/lib/postgresql/15/main
        bin: /usr/lib/postgresql/15/bin
        logical: true
        synchronous: true
      - name: sessions
        kind: sqlite
        path: /var/lib/gisis/sessions.db
      - name: ledger.sql
        kind: command
        backup: [mariadb-dump, --single-transaction, --databases, ledger]
        restore: [mariadb, --port=3306]
        create: [mariadb-install-db, --datadir=/var/lib/mysql]
        data: /var/lib/mysql
        user: mysql
        env: [TZ=UTC]
        timeout: 2h
      - name: directory.ldif
        kind: command
        backup: [/usr/sbin/slapcat]
        restore: [/usr/sbin/slapadd]
        offline: true
    processes:
      - name: postgres
        argv: [/usr/lib/postgresql/15/bin/postgres, -D, /var/lib/postgresql/15/main, -c, port=5432]
        user: postgres
        stop_signal: SIGINT
        listen: ["127.0.0.1:5432"]
        pid_file: /run/kedge/postgres.pid
        log: /var/log/kedge/postgres.log
        timeout: 1m
    probes:
      - name: ships
        kind: sql
        connect: host=127.0.0.1 port=5432 user=reader dbname=gisis
        query: select count(*) > 1000 from ships
        expect: t
    objectives: {rpo: 5m, rto: 1h30m}
  - name: website
    needs: [gisis]
    repository: main
    assets:
      - name: tree
        kind: files
        paths: [/srv/web]
        exclude: [/srv/web/log]
    processes:
      - name: nginx
        argv: [nginx, -c, /srv/web/nginx.conf]
        directory: /srv/web
        env: [TZ=UTC]
        listen: ["127.0.0.1:8080"]
        relocate: [/srv/web/nginx.conf]
        pid_file: /run/kedge/nginx.pid
        log: /var/log/kedge/nginx.log
    probes:
      - name: front page
        kind: http
        url: http://127.0.0.1:8080/
        sign_in: http://127.0.0.1:8080/login
        form: {user: reader, password: "{password}"}
        password_file: /etc/kedge/reader.password
        status: 200
        expect: Welcome
        timeout: 5s
      - {name: port, kind: tcp, address: "127.0.0.1:8080"}
      - name: letter
        kind: mail
        smtp: 127.0.0.1:25
        imap: 127.0.0.1:143
        user: registry@imo.example
        password_file: /etc/kedge/mail.password
      - {name: disk, kind: command, argv: [df, /srv]}
      - {name: home, kind: files, path: /srv/web/index.html}
    objectives:
      rpo: 24h
      rto: 30s
    watch:
      document_root: /srv/web/html
      pages: ["http://127.0.0.1:8080/"]
      access_logs: [/srv/web/log/access.log]
      database_logs: [/srv/pg/log/*.csv]
      render: false
      origin: 127.0.0.1:8080
      canaries: [/srv/web/files]
      freeze: true
`

func mustParse(t *testing.T, text string) *Estate {
	t.Helper()
	e, err := Parse("kedge.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestWholeEstateIsRead(t *testing.T) {
	name := filepath.Join(t.TempDir(), "kedge.yaml")
	if err := os.WriteFile(name, []byte(example), 0o600); err != nil {
		t.Fatal(err)
	}
	e, err := Load(name)
	if err != nil {
		t.Fatal(err)
	}
	gisis, err := e.Service("gisis")
	if err != nil {
		t.Fatal(err)
	}
	if want := (Objectives{RPO: 5 * time.Minute, RTO: 90 * time.Minute}); gisis.Objectives != want {
		t.Errorf("objectives %+v, want %+v", gisis.Objectives, want)
	}
	if p := gisis.Processes[0]; p.User != "postgres" || p.Timeout != time.Minute || len(p.Argv) != 5 || p.Listen[0] != "127.0.0.1:5432" {
		t.Errorf("process read as %+v", p)
	}
	if a := gisis.Assets; !a[0].Logical || a[1].Path != "/var/lib/gisis/sessions.db" || len(a[2].Backup) != 4 || a[2].Timeout != 2*time.Hour || !a[3].Offline {
		t.Errorf("assets read as %+v", a)
	}
	website, err := e.Service("website")
	if err != nil {
		t.Fatal(err)
	}
	if p := website.Probes[0]; p.Form["password"] != "{password}" || p.Timeout != 5*time.Second || p.Expect != "Welcome" {
		t.Errorf("probe read as %+v", p)
	}
	if r, err := e.Repository("main"); err != nil || r.Copy.Site != "geneva" {
		t.Errorf("repository read as %+v, %v", r, err)
	}
}

func TestEncodedEstateLoadsToTheSame(t *testing.T) {
	e := mustParse(t, example)
	data, err := e.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if again := mustParse(t, string(data)); !reflect.DeepEqual(e, again) {
		t.Errorf("encoded and read again it is\n%+v\nnot\n%+v", again, e)
	}
	for _, want := range []string{"rpo: 5m\n", "rto: 1h30m\n", "rpo: 24h\n", "rto: 30s\n"} {
		if !strings.Contains(string(data), want) {
			t.Errorf("the encoded estate lacks %q:\n%s", want, data)
		}
	}
	e.Services[0].Probes = nil
	if _, err := e.Encode(); err == nil || !strings.Contains(err.Error(), "probes is missing") {
		t.Errorf("an estate that cannot be loaded was encoded: %v", err)
	}
}

// Each row changes one thing of the example, and says at which text that is told and how.
func TestMistakesAreToldWithLineAndColumn(t *testing.T) {
	for _, c := range []struct{ what, old, new, at, want string }{
		{"unknown field", "key: true", "keys: true", "keys", `unknown field "keys"`},
		{"wrong type", "key: true", "key: [1]", "[1]", ""},
		{"field twice", "    key: true", "    key: true\n    key: true", "", ""},
		{"bare number as duration", "rpo: 24h", "rpo: 24", "24\n", "write a duration with its unit"},
		{"nonsense as duration", "rpo: 24h", "rpo: soon", "", "soon"},
		{"no YAML", "key: true", "key: \"", "", ""},
		{"unknown service", "needs: [gisis]", "needs: [gizis]", "gizis", `service "gizis" is not declared`},
		{"service needed twice", "needs: [gisis]", "needs: [gisis, gisis]", "gisis]", `service "gisis" is named twice`},
		{"itself", "needs: [gisis]", "needs: [website]", "website]", "services need one another in a circle: website needs website"},
		{"circle", "    key: true", "    needs: [website]", "gisis]\n    repo", "services need one another in a circle: gisis needs website needs gisis"},
		{"unknown repository", "    repository: main\n    assets:\n      - name: tree", "    repository: mian\n    assets:\n      - name: tree", "mian", `repository "mian" is not declared`},
		{"unknown site", "site: london", "site: londn", "londn", `site "londn" is not declared`},
		{"unknown role", "role: vault", "role: bank", "bank", "role is \"bank\"; write headquarters or vault"},
		{"copy at headquarters", "site: geneva", "site: london", "london\n      loc", "a copy stands at a vault"},
		{"copy by path", "rest:http://127.0.0.1:8000/main/", "/srv/copy", "/srv/copy", "a copy is reached through its vault"},
		{"relative path", "state: /var/lib/kedge", "state: var/lib/kedge", "var/lib", `state must be an absolute path`},
		{"path with dots", "paths: [/srv/web]", "paths: [/srv/../web]", "/srv/../web", `paths must be an absolute path`},
		{"relative program", "argv: [nginx,", "argv: [bin/nginx,", "bin/nginx", `argv must be an absolute path`},
		{"relative server log", "[/srv/pg/log/*.csv]", "[log/*.csv]", "log/*.csv", `database_logs must be an absolute path`},
		{"server log that is no pattern", "[/srv/pg/log/*.csv]", "[\"/srv/pg/log/[.csv\"]", "\"/srv/pg", `database_logs: "/srv/pg/log/[.csv" is no pattern`},
		{"an origin without a port", "origin: 127.0.0.1:8080", "origin: 127.0.0.1", "127.0.0.1\n      canaries", "origin must be host:port"},
		{"canaries that nobody watches", "[/srv/web/files]", "[/srv/files]", "/srv/files", "canaries: /srv/files is in no asset of kind files"},
		{"canaries in what is left out", "[/srv/web/files]", "[/srv/web/log]", "/srv/web/log]\n      freeze", "canaries: /srv/web/log is in no asset of kind files"},
		{"relative canaries", "[/srv/web/files]", "[files]", "files]\n      freeze", "canaries must be an absolute path"},
		{"freeze that is no yes or no", "freeze: true", "freeze: maybe", "maybe", ""},
		{"unknown asset kind", "kind: files\n        paths", "kind: file\n        paths", "file\n", `kind is "file"`},
		{"unknown probe kind", "kind: tcp", "kind: udp", "udp", `kind is "udp"`},
		{"no paths", "        paths: [/srv/web]\n", "", "name: tree", "paths is missing"},
		{"no pid file", "        pid_file: /run/kedge/nginx.pid\n", "", "name: nginx", "pid_file is missing"},
		{"same pid file", "pid_file: /run/kedge/nginx.pid", "pid_file: /run/kedge/postgres.pid", "/run/kedge/postgres.pid\n        log: /var/log/kedge/nginx", "PID file /run/kedge/postgres.pid belongs to process gisis/postgres already"},
		{"same address", `listen: ["127.0.0.1:8080"]`, `listen: ["127.0.0.1:5432"]`, "\"127.0.0.1:5432\"]\n        relo", "address 127.0.0.1:5432 belongs to process gisis/postgres already"},
		{"no port", `listen: ["127.0.0.1:8080"]`, `listen: ["127.0.0.1"]`, "\"127.0.0.1\"]", "listen must be host:port"},
		{"relocated file in no asset", "relocate: [/srv/web/nginx.conf]", "relocate: [/srv/webs/nginx.conf]", "/srv/webs/", "/srv/webs/nginx.conf is in no asset"},
		{"unknown signal", "stop_signal: SIGINT", "stop_signal: SIGNIT", "SIGNIT", `stop signal "SIGNIT" is unknown`},
		{"bad variable", "env: [TZ=UTC]", "env: [TZ]", "TZ]", "\"TZ\" is not of the form"},
		{"password in connect", "connect: host=127.0.0.1 port=5432 user=kedge", "connect: password=x host=127.0.0.1 port=5432 user=kedge", "password=x", "connect must not hold a password"},
		{"password in URL", "http://127.0.0.1:8080/login", "http://u:p@127.0.0.1:8080/login", "http://u:p", "sign_in must not hold a password"},
		{"field of another kind", "{name: disk, kind: command,", "{name: disk, kind: command, url: \"http://a/\",", "\"http://a/\"", "url means nothing for a probe of kind \"command\""},
		{"postgres with paths", "bin: /usr", "paths: [/x]\n        bin: /usr", "[/x]", `paths means nothing for an asset of kind "postgres"`},
		{"sqlite without its path", "        path: /var/lib/gisis/sessions.db\n", "", "name: sessions", "path is missing"},
		{"relative database", "path: /var/lib/gisis/sessions.db", "path: sessions.db", "sessions.db\n", "path must be an absolute path"},
		{"command without a way back", "        restore: [mariadb, --port=3306]\n", "", "name: ledger.sql", "restore is missing"},
		{"command without output", "backup: [mariadb-dump, --single-transaction, --databases, ledger]", "backup: []", "[]", "backup is missing"},
		{"relative backup program", "backup: [/usr/sbin/slapcat]", "backup: [sbin/slapcat]", "sbin/slapcat", "backup must be an absolute path"},
		{"password in an argument", "restore: [mariadb, --port=3306]", "restore: [mariadb, --password=x]", "--password=x", "restore must not hold a password"},
		{"create without data", "        data: /var/lib/mysql\n", "", "[mariadb-install-db", "create needs data"},
		{"command's bad variable", "env: [TZ=UTC]\n        timeout: 2h", "env: [=UTC]\n        timeout: 2h", "=UTC]", `"=UTC" is not of the form`},
		{"command's negative timeout", "timeout: 2h", "timeout: -2h", "-2h", "timeout is negative"},
		{"logical dump of files", "paths: [/srv/web]", "paths: [/srv/web]\n        logical: true", "true\n        exclude", `logical means nothing for an asset of kind "files"`},
		{"synchronous files", "paths: [/srv/web]", "paths: [/srv/web]\n        synchronous: true", "true\n        exclude", `synchronous means nothing for an asset of kind "files"`},
		{"backup of a sqlite asset", "path: /var/lib/gisis/sessions.db", "path: /var/lib/gisis/sessions.db\n        backup: [cat]", "[cat]", `backup means nothing for an asset of kind "sqlite"`},
		{"bin of a command", "offline: true", "bin: /bin", "/bin\n    proc", `bin means nothing for an asset of kind "command"`},
		{"relocated file in a command's data", "stop_signal: SIGINT", "relocate: [/var/lib/mysql/my.cnf]", "/var/lib/mysql/my.cnf", "/var/lib/mysql/my.cnf is in no asset of service \"gisis\""},
		{"form without sign-in", "        sign_in: http://127.0.0.1:8080/login\n", "", "user: reader,", "form needs sign_in"},
		{"impossible status", "status: 200", "status: 20", "20\n", "no final HTTP status is 20"},
		{"no objectives", "    objectives: {rpo: 5m, rto: 1h30m}\n", "", "name: gisis", "objectives: rpo is missing"},
		{"negative timeout", "timeout: 5s", "timeout: -5s", "-5s", "timeout is negative"},
		{"service twice", "name: website", "name: gisis", "gisis\n    needs", `service "gisis" is declared twice`},
		{"bad name", "name: website", "name: Web Site", "Web Site", `name is missing, or is not made of`},
		{"anchor", "name: website", "name: &a website", "&a", `"&" is not understood`},
		{"alias", "needs: [gisis]", "needs: *a", "*a", `"*" is not understood`},
		{"merge key", "    needs: [gisis]", "    <<: {}", "<<", "\"<<\" is not understood"},
		{"tag", "name: website", "name: !!str website", "!!str", "\"!!str\" is not understood"},
		{"second document", "services:", "---\nservices:", "", "2 documents"},
		{"nesting", "needs: [gisis]", "needs: " + strings.Repeat("[", 40), "", "nested too deep"},
	} {
		t.Run(c.what, func(t *testing.T) {
			if strings.Count(example, c.old) == 0 {
				t.Fatalf("the example lacks %q", c.old)
			}
			text := strings.Replace(example, c.old, c.new, 1)
			want := c.want
			if c.at != "" {
				before, _, found := strings.Cut(text, c.at)
				if !found {
					t.Fatalf("the changed example lacks %q", c.at)
				}
				want = fmt.Sprintf("kedge.yaml:%d:%d: %s", strings.Count(before, "\n")+1, len(before)-strings.LastIndex(before, "\n"), c.want)
			}
			_, err := Parse("kedge.yaml", []byte(text))
			if err == nil {
				t.Fatal("it was taken for right")
			}
			if !strings.HasPrefix(err.Error(), "kedge.yaml:") || !strings.Contains(err.Error(), want) {
				t.Errorf("error:\n%v\nwant one with\n%s", err, want)
			}
		})
	}
}

func TestFileAssetsLeaveOutTheDatabasesOfOthers(t *testing.T) {
	files := Asset{Name: "home", Kind: "files", Paths: []string{"/srv"}, Exclude: []string{"/srv/log"}}
	s := Service{Assets: []Asset{files, {Name: "db", Kind: "sqlite", Path: "/srv/app.db"}}}
	if got := strings.Join(s.Excluded(files), " "); got != "/srv/log /srv/app.db /srv/app.db-wal /srv/app.db-shm /srv/app.db-journal" {
		t.Errorf("left out: %s", got)
	}
	if len(files.Exclude) != 1 {
		t.Error("the asset itself was changed")
	}
}

func TestManyMistakesAreToldAtOnceInOrderOfLines(t *testing.T) {
	text := strings.NewReplacer("/srv/web", "srv/web", "site: london", "site: paris", "needs: [gisis]", "needs: [x, y]").Replace(example)
	_, err := Parse("kedge.yaml", []byte(text))
	if err == nil {
		t.Fatal("it was taken for right")
	}
	last := 0
	lines := strings.Split(err.Error(), "\n")
	for _, line := range lines {
		var number, column int
		if _, err := fmt.Sscanf(line, "kedge.yaml:%d:%d:", &number, &column); err != nil || number < last {
			t.Errorf("line %q is out of order or form", line)
		}
		last = number
	}
	if len(lines) < 8 || len(lines) > maxErrors+1 {
		t.Errorf("%d mistakes were told:\n%v", len(lines), err)
	}
}

func TestHostileFilesAreRefusedFast(t *testing.T) {
	bombs := map[string]string{
		"too long":      strings.Repeat("#", MaxSize+1),
		"open brackets": strings.Repeat("[", MaxSize),
		"open braces":   strings.Repeat("{a: ", MaxSize/4),
		"nested dashes": strings.Repeat("- ", MaxSize/2),
		"nested keys":   strings.Repeat("? ", MaxSize/2),
		"growing indent": func() string {
			var b strings.Builder
			for i := 0; b.Len() < MaxSize-2000; i++ {
				b.WriteString(strings.Repeat(" ", i) + "a:\n")
			}
			return b.String()
		}(),
		"billion laughs": "a: &a [x,x,x]\nb: &b [*a,*a]\nname: [*b,*b]\n",
		"empty":          "",
		"comment":        "# nothing\n",
		"scalar":         "kedge",
		"list":           "- name: x\n",
		"null":           "~",
		"nulls":          "services: [~]\nsites: [~]\nrepositories: [~]\n",
		"many keys":      strings.Repeat("a: b\n", MaxSize/5),
		"quotes":         strings.Repeat("\"a\" ", MaxSize/4),
		"long line":      "name: " + strings.Repeat("x ", MaxSize/2-10),
	}
	for what, text := range bombs {
		t.Run(what, func(t *testing.T) {
			began := time.Now()
			if _, err := Parse("kedge.yaml", []byte(text)); err == nil || !strings.HasPrefix(err.Error(), "kedge.yaml:") {
				t.Errorf("error %v, want one that names the file", err)
			} else if len(err.Error()) > 10_000 {
				t.Errorf("the error has %d bytes", len(err.Error()))
			}
			t.Logf("%v", time.Since(began))
		})
	}
}

func TestMissingFileIsAnError(t *testing.T) {
	if _, err := Load(filepath.Join(t.TempDir(), "kedge.yaml")); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("error %v", err)
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{example, "", "a: [", "- - - x", "name: \"\\x\"", "? a\n: b", "a: |\n  b\n c", "services:\n- needs: [~]\n", "%YAML 1.2\n---\n"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := Parse("kedge.yaml", data)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "kedge.yaml:") {
				t.Errorf("error without the file's name: %v", err)
			}
			return
		}
		encoded, err := e.Encode()
		if err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		again, err := Parse("kedge.yaml", encoded)
		if err != nil {
			t.Fatalf("what was written cannot be read: %v", err)
		}
		if twice, err := again.Encode(); err != nil || string(twice) != string(encoded) {
			t.Errorf("written twice, it differs (%v):\n%s\n%s", err, encoded, twice)
		}
	})
}

func TestBelowKeepsToWholeNames(t *testing.T) {
	for _, c := range []struct {
		path  string
		paths []string
		want  bool
	}{
		{"/srv/site", []string{"/srv/site"}, true},
		{"/srv/site/page", []string{"/srv/site/"}, true},
		{"/srv/site-of-another", []string{"/srv/site"}, false},
		{"/srv/site/../other", []string{"/srv/site"}, false},
		{"/anything", []string{"/"}, true},
		{"/srv/b", []string{"/srv/a", "/srv/b"}, true},
		{"/srv", []string{"/srv/site"}, false},
		{"/srv", nil, false},
	} {
		if got := Below(c.path, c.paths); got != c.want {
			t.Errorf("Below(%q, %q) = %v, want %v", c.path, c.paths, got, c.want)
		}
	}
}
