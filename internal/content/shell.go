package content

import (
	"bytes"
	"path"
	"regexp"
	"strings"
)

// scriptExtensions are run by a web server that is set up for them.
const scriptExtensions = " php php3 php4 php5 php7 php8 phtml phar inc jsp jspx jspf asp aspx ashx asmx cer cgi pl py rb sh cfm "

// Script tells whether a web server may run the file rather than send it.
func Script(name string, data []byte) bool {
	base := strings.ToLower(path.Base(name))
	for part := range strings.SplitSeq(base, ".") { // "x.php.jpg" too: some servers run it
		if part != base && strings.Contains(scriptExtensions, " "+part+" ") {
			return true
		}
	}
	return base == ".htaccess" || bytes.HasPrefix(data, []byte("#!")) || phpTag.Match(data)
}

var phpTag = regexp.MustCompile(php)

// shellSize is how much of a script is looked at, in bytes.
const shellSize = 1 << 20

type shellRule struct {
	what string
	all  []*regexp.Regexp // every one must match
}

func rule(what string, all ...string) shellRule {
	r := shellRule{what: what}
	for _, expr := range all {
		r.all = append(r.all, regexp.MustCompile(expr))
	}
	return r
}

const (
	phpRun   = `(?i)\b(eval|assert|system|passthru|shell_exec|exec|popen|proc_open|pcntl_exec|create_function|preg_replace_callback)`
	php      = `<\?(php\b|=)`
	asp      = `<%|<jsp:|runat\s*=|@WebServlet`
	phpSent  = `\$(_(GET|POST|REQUEST|COOKIE|FILES)\b|HTTP_RAW_POST_DATA)|php://input`
	phpInput = phpSent + `|\$_SERVER\s*\[\s*["'](HTTP_|PHP_AUTH|QUERY_STRING|REQUEST_URI|PATH_INFO)`
)

// shellRules tell code that runs what a visitor sends, or hides what it runs.
var shellRules = []shellRule{
	rule("php runs input", phpRun+`\s*\(\s*[^;]{0,120}(`+phpInput+`)`, php),
	rule("php runs input in steps", `(?i)\b(system|passthru|shell_exec|popen|proc_open|pcntl_exec|eval|assert)\s*\(\s*[^)]{0,40}\$\w`, phpInput, php),
	rule("php runs input in backticks", "`[^`]{0,80}\\$[^`]{0,80}`", phpInput, php),
	rule("php calls a function named by input", `\$_(GET|POST|REQUEST|COOKIE)\s*\[[^\]]{0,40}\]\s*\(`, php),
	rule("php runs decoded code", phpRun+`\s*\(\s*(@?\s*(gzinflate|gzuncompress|gzdecode|base64_decode|str_rot13|strrev|hex2bin|rawurldecode)\s*\(\s*)+`, php),
	rule("php writes uploaded or sent code", `(?i)\b(move_uploaded_file|file_put_contents|fwrite)\s*\(`, phpSent, `(?i)\b(chmod|\.php|eval|unlink|copy)\b`, `(?i)\b(phpinfo|php_uname|posix_getpwuid|disable_functions|getcwd)\b`, php),
	rule("java runs input", `Runtime\s*\.\s*getRuntime\s*\(\s*\)\s*\.\s*exec|new\s+ProcessBuilder|defineClass`, `getParameter|getHeader|getInputStream|getReader|getCookies`, asp),
	rule("asp runs input", `(?i)\b(eval|execute|executeglobal)\s*\(?\s*request\b`, asp),
	rule("asp starts processes for input", `(?i)Process\s*\.\s*Start|ProcessStartInfo|WScript\.Shell|Assembly\s*\.\s*Load`, `(?i)\bRequest\b\s*[\[.(]`, asp),
	rule("cgi runs input", `(?i)\b(os\.system|os\.popen|subprocess\.|exec\s*\(|eval\b|system\s*\(|qx\s*[{(/]|open\s*\([^)]*\|)`, `QUERY_STRING|FieldStorage|\bparam\s*\(|CONTENT_LENGTH|cgi\.parse`, `^#!`),
	rule("htaccess makes files run", `(?im)^\s*(AddType|AddHandler|SetHandler)\b.*\b(php|x-httpd|cgi-script)`),
}

// Shell returns what makes a file under a document root a web shell, nil if nothing does: it can be run, and at least
// one rule of how shells are written holds.
func Shell(name string, data []byte) []string {
	data = data[:min(len(data), shellSize)]
	if !Script(name, data) {
		return nil
	}
	var has []string
	for _, r := range shellRules {
		if r.matches(data) {
			has = append(has, r.what)
		}
	}
	return has
}

func (r shellRule) matches(data []byte) bool {
	for _, re := range r.all {
		if !re.Match(data) {
			return false
		}
	}
	return true
}
