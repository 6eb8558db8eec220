package drill

import (
	"strings"
	"testing"
)

func testRewriter() *rewriter {
	r := &rewriter{ports: map[string]string{"8080": "41000", "5432": "41001", "25": "41002"}}
	r.add("/srv/web", "/box/srv/web")
	r.add("/srv/web/data", "/box/srv/web/data")
	r.add("/var/lib/pg", "/box/var/lib/pg")
	r.add("0.0.0.0:8080", "127.0.0.1:41000")
	return r
}

func TestPathsAndPortsAreReplacedWhereTheyStandByThemselves(t *testing.T) {
	for old, want := range map[string]string{
		// paths
		"/srv/web":                            "/box/srv/web",
		"root /srv/web;":                      "root /box/srv/web;",
		"/srv/web/":                           "/box/srv/web/",
		"/srv/web/data/x /srv/web/datum":      "/box/srv/web/data/x /box/srv/web/datum",
		"A=/srv/web/bin:/srv/web/sbin":        "A=/box/srv/web/bin:/box/srv/web/sbin",
		`"/srv/web","/var/lib/pg"`:            `"/box/srv/web","/box/var/lib/pg"`,
		"-D/var/lib/pg":                       "-D/box/var/lib/pg",
		"--data=/var/lib/pg":                  "--data=/box/var/lib/pg",
		"unix:/srv/web/run/x.sock":            "unix:/box/srv/web/run/x.sock",
		"file:///srv/web/index.html":          "file:///box/srv/web/index.html",
		"kept in /srv/web. Else":              "kept in /box/srv/web. Else",
		"/srv/web2 /srv/web-old /srv/web.old": "/srv/web2 /srv/web-old /srv/web.old",
		"/old/srv/web ../srv/web a/srv/web":   "/old/srv/web ../srv/web a/srv/web",
		"/box/srv/web":                        "/box/srv/web", // what is done is not done again
		// addresses and ports
		"listen 127.0.0.1:8080;":                "listen 127.0.0.1:41000;",
		"listen 0.0.0.0:8080;":                  "listen 127.0.0.1:41000;",
		"listen 8080;":                          "listen 41000;",
		"http://localhost:8080/x":               "http://localhost:41000/x",
		"host=127.0.0.1 port=5432 dbname=x":     "host=127.0.0.1 port=41001 dbname=x",
		"postgres -p5432":                       "postgres -p41001",
		"-p 5432":                               "-p 41001",
		`{"port":5432}`:                         `{"port":41001}`,
		"daemon_smtp_ports = 25":                "daemon_smtp_ports = 41002",
		"on port 25.":                           "on port 41002.",
		"18080 80801 8080.5 1.8080 /8080 x8080": "18080 80801 8080.5 1.8080 /8080 x8080",
		"10.0.25.1 v25 25th 2025-25":            "10.0.25.1 v25 25th 2025-25",
		"":                                      "",
	} {
		if got := testRewriter().text(old); got != want {
			t.Errorf("%q became\n%q, want\n%q", old, got, want)
		}
	}
}

func FuzzRewriter(f *testing.F) {
	f.Add("listen 127.0.0.1:8080; root /srv/web/data;")
	f.Add("-D/srv/web\x80é")
	f.Fuzz(func(t *testing.T, s string) {
		r := testRewriter()
		once := r.text(s)
		if twice := r.text(once); twice != once {
			t.Errorf("%q became %q and then %q", s, once, twice)
		}
		// Nothing but what was to be replaced has changed.
		back := &rewriter{ports: map[string]string{"41000": "8080", "41001": "5432", "41002": "25"}}
		back.add("/box/srv/web", "/srv/web")
		back.add("/box/var/lib/pg", "/var/lib/pg")
		if !strings.Contains(s, "box") && !strings.Contains(s, "410") && !strings.Contains(s, "0.0.0.0") {
			if again := back.text(once); again != s {
				t.Errorf("%q became %q, which leads back to %q", s, once, again)
			}
		}
	})
}
