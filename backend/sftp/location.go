package sftp

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"path"
	"strconv"
	"strings"
)

// Location is where a repository is: a directory that a host shows to a user.
type Location struct {
	User string // empty: whom ssh takes
	Host string
	Port int    // 0: what ssh takes
	Dir  string // clean; relative ones begin at the user's home
}

// ParseLocation reads "sftp:[user@]host:dir", in which dir is relative unless it begins with a slash, or
// "sftp://[user@]host[:port]/dir", in which it is absolute if it begins with a second slash, as for restic.
func ParseLocation(s string) (Location, error) {
	loc, err := parse(s)
	if err != nil {
		return Location{}, fmt.Errorf("SFTP location: %w", err)
	}
	return loc, nil
}

func parse(s string) (loc Location, err error) {
	rest, ok := strings.CutPrefix(s, "sftp:")
	if !ok {
		return loc, errors.New(`want "sftp:user@host:/directory" or "sftp://user@host:port//directory"`)
	}
	if strings.HasPrefix(rest, "//") {
		loc, err = parseURL(s)
	} else {
		loc, err = parseSCP(rest)
	}
	if err != nil {
		return loc, err
	}
	for what, word := range map[string]string{"user": loc.User, "host": loc.Host} {
		// ssh gets both as arguments of its own, and must take neither for an option.
		if strings.HasPrefix(word, "-") || strings.ContainsAny(word, "/ \t\r\n\x00") || what == "host" && strings.Contains(word, "@") {
			return loc, fmt.Errorf("the %s is not valid", what)
		}
	}
	if loc.Dir != "" {
		loc.Dir = path.Clean(loc.Dir) // before it is judged: "./~" is written "~" afterwards
	}
	if strings.Contains(loc.Host, ":") {
		if _, err := netip.ParseAddr(loc.Host); err != nil {
			return loc, errors.New("the host is not valid: one with colons is an IPv6 address")
		}
	}
	switch {
	case loc.Host == "":
		return loc, errors.New("no host is named")
	case loc.Dir == "":
		return loc, errors.New("no directory is named")
	case strings.HasPrefix(loc.Dir, "~"):
		return loc, errors.New("the directory begins with ~; leave it out: a relative directory begins at the user's home")
	case strings.ContainsRune(loc.Dir, 0):
		return loc, errors.New("the directory is not valid")
	}
	return loc, nil
}

func parseSCP(s string) (loc Location, err error) {
	target, dir, ok := strings.Cut(s, ":")
	if !ok {
		return loc, errors.New("no directory is named: want user@host:/directory")
	}
	loc.Host, loc.Dir = target, dir
	if i := strings.LastIndexByte(target, '@'); i >= 0 { // users may be named user@domain
		loc.User, loc.Host = target[:i], target[i+1:]
	}
	return loc, nil
}

func parseURL(s string) (loc Location, err error) {
	u, err := url.Parse(s)
	if err != nil {
		return loc, errors.New("not a valid URL") // url.Parse quotes its input, which may hold a password
	}
	if u.RawQuery != "" || u.Fragment != "" {
		return loc, errors.New("a URL's query or fragment has no meaning here; escape ? and # with %XX")
	}
	if u.User != nil {
		if _, told := u.User.Password(); told {
			return loc, errors.New("ssh takes no password from a location; use a key")
		}
		loc.User = u.User.Username()
	}
	loc.Host = u.Hostname()
	if port := u.Port(); port != "" {
		if loc.Port, err = strconv.Atoi(port); err != nil || loc.Port < 1 || loc.Port > 65535 {
			return loc, errors.New("the port is not valid")
		}
	}
	loc.Dir = strings.TrimPrefix(u.Path, "/")
	return loc, nil
}

// String returns the location as ParseLocation reads it.
func (l Location) String() string {
	if l.Port != 0 || strings.Contains(l.User+l.Host, ":") {
		u := url.URL{Scheme: "sftp", Host: l.Host, Path: "/" + l.Dir}
		if strings.Contains(l.Host, ":") {
			u.Host = "[" + l.Host + "]"
		}
		if l.Port != 0 {
			u.Host += ":" + strconv.Itoa(l.Port)
		}
		if l.User != "" {
			u.User = url.User(l.User)
		}
		return u.String()
	}
	if l.User != "" {
		return "sftp:" + l.User + "@" + l.Host + ":" + l.Dir
	}
	return "sftp:" + l.Host + ":" + l.Dir
}

// argv returns the program that speaks SFTP with the host on its standard input and output.
func (l Location) argv(opt Options) ([]string, error) {
	if len(opt.Command) > 0 {
		if len(opt.Args) > 0 {
			return nil, errors.New("both a command and arguments for ssh are set; put the arguments into the command")
		}
		return opt.Command, nil
	}
	argv := append([]string{"ssh"}, opt.Args...)
	// ssh takes the first value of an option, so that the user's arguments win. Without these two a line that is dead
	// is noticed by no one for hours.
	argv = append(argv, "-o", "ServerAliveInterval=30", "-o", "ServerAliveCountMax=4")
	if l.Port != 0 {
		argv = append(argv, "-p", strconv.Itoa(l.Port))
	}
	if l.User != "" {
		argv = append(argv, "-l", l.User)
	}
	return append(argv, "-s", "--", l.Host, "sftp"), nil
}
