package sftp

import (
	"slices"
	"strings"
	"testing"
)

func TestLocationsAreReadAsResticReadsThem(t *testing.T) {
	for s, want := range map[string]Location{
		"sftp:user@host:/srv/repo":              {"user", "host", 0, "/srv/repo"},
		"sftp:host:/srv/repo":                   {"", "host", 0, "/srv/repo"},
		"sftp:user@host:repo/of/mine":           {"user", "host", 0, "repo/of/mine"},
		"sftp:user@host:repo//of/./mine/":       {"user", "host", 0, "repo/of/mine"},
		"sftp:user@domain@host:dir:with:colons": {"user@domain", "host", 0, "dir:with:colons"},
		"sftp://user@host//srv/repo":            {"user", "host", 0, "/srv/repo"},
		"sftp://user@host/repo":                 {"user", "host", 0, "repo"},
		"sftp://host:2222//srv/repo":            {"", "host", 2222, "/srv/repo"},
		"sftp://user@[::1]:2222//srv/repo":      {"user", "::1", 2222, "/srv/repo"},
		"sftp://us%40er@host/a%20repo":          {"us@er", "host", 0, "a repo"},
	} {
		got, err := ParseLocation(s)
		if err != nil || got != want {
			t.Errorf("%s: %+v, %v; want %+v", s, got, err, want)
		}
	}
}

func TestALocationThatCouldNotBeMeantIsRefused(t *testing.T) {
	for s, want := range map[string]string{
		"/srv/repo":                       "want",
		"sftp:host":                       "no directory",
		"sftp:host:":                      "no directory",
		"sftp:user@:/srv":                 "no host",
		"sftp://host":                     "no directory",
		"sftp://host/":                    "no directory",
		"sftp:user@host:~/repo":           "leave it out",
		"sftp:-oProxyCommand=touch x:dir": "host is not valid",
		"sftp:-lroot@host:dir":            "user is not valid",
		"sftp://-oProxyCommand=x/dir":     "host is not valid",
		"sftp://host:99999//srv":          "port",
		"sftp://user:hush@host//srv":      "no password",
		"sftp://user:hush%zz@host//srv":   "not a valid URL",
		"sftp://host//srv?hush":           "query",
		"sftp:host:/srv\x00/repo":         "directory is not valid",
	} {
		loc, err := ParseLocation(s)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %+v, %v; want an error with %q", s, loc, err, want)
		} else if strings.Contains(err.Error(), "hush") {
			t.Errorf("%q: the error shows what may be a password: %v", s, err)
		}
	}
}

func TestTheHostIsAnArgumentOfSSHAndNothingMore(t *testing.T) {
	loc := Location{"us@er", "host", 2222, "/srv"}
	got, err := loc.argv(Options{Args: []string{"-i", "key file"}})
	want := []string{
		"ssh", "-i", "key file", "-o", "ServerAliveInterval=30", "-o", "ServerAliveCountMax=4",
		"-p", "2222", "-l", "us@er", "-s", "--", "host", "sftp",
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got  %q, %v\nwant %q", got, err, want)
	}
	if got, err := loc.argv(Options{Command: []string{"other", "x"}}); err != nil || !slices.Equal(got, []string{"other", "x"}) {
		t.Errorf("with a command of the user's: %q, %v", got, err)
	}
	if got, err := loc.argv(Options{Command: []string{"other"}, Args: []string{"x"}}); err == nil {
		t.Errorf("with a command and arguments: %q, want an error", got)
	}
}

// FuzzLocation holds that what is read is written so that it reads the same, and that ssh can take neither user nor host
// for an option.
func FuzzLocation(f *testing.F) {
	for _, s := range []string{
		"sftp:user@host:/srv/repo", "sftp:u@d@h:a:b", "sftp://u%40d@[::1]:22//srv", "sftp://u%3ax@h/a%3fb", "sftp://[fe80::1%25eth0]/x", "sftp:p:.///~a", "sftp://::/00",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		loc, err := ParseLocation(s)
		if err != nil {
			return
		}
		if strings.HasPrefix(loc.User, "-") || strings.HasPrefix(loc.Host, "-") || loc.Host == "" || loc.Dir == "" {
			t.Errorf("%q is read as %+v", s, loc)
		}
		again, err := ParseLocation(loc.String())
		if err != nil || again != loc {
			t.Errorf("%q is %+v, written %q, which is %+v, %v", s, loc, loc.String(), again, err)
		}
	})
}
