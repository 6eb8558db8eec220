package web

import (
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// securityHeaders are those whose loss makes a page's visitors easier to harm. See the OWASP Secure Headers Project.
var securityHeaders = []string{
	"Content-Security-Policy", "Strict-Transport-Security", "X-Frame-Options", "X-Content-Type-Options", "Referrer-Policy",
	"Permissions-Policy", "Cross-Origin-Opener-Policy", "Cross-Origin-Embedder-Policy", "Cross-Origin-Resource-Policy",
}

// grantingHeaders let somebody do more; a new one counts.
var grantingHeaders = []string{"Service-Worker-Allowed", "Refresh"}

// headersOf returns the security headers of an answer, by name, without what is made up for each.
func headersOf(h http.Header) map[string]string {
	kept := map[string]string{}
	for _, name := range slices.Concat(securityHeaders, grantingHeaders) {
		if values := h.Values(name); len(values) > 0 {
			text := strings.Join(values, ", ")
			if name == "Content-Security-Policy" {
				text = policy(values).String()
			}
			kept[name] = text[:min(len(text), 8000)]
		}
	}
	return kept
}

// directives are a content security policy: source expressions by directive. See the W3C's Content Security Policy Level 3.
type directives map[string][]string

// policy reads policies; with several, a source counts if any of them names it, which is enough to see one come.
func policy(policies []string) directives {
	d := directives{}
	for _, text := range policies {
		for directive := range strings.SplitSeq(strings.ReplaceAll(text, ",", ";"), ";") {
			words := strings.Fields(strings.ToLower(directive))
			if len(words) == 0 || strings.HasPrefix(words[0], "report-") {
				continue
			}
			for _, w := range words[1:] {
				switch {
				case strings.HasPrefix(w, "'nonce-"):
					w = "'nonce'"
				case strings.HasPrefix(w, "'sha256-"), strings.HasPrefix(w, "'sha384-"), strings.HasPrefix(w, "'sha512-"):
					w = "'hash'" // of a script that is compared itself
				}
				d[words[0]] = append(d[words[0]], w)
			}
			if len(words) == 1 {
				d[words[0]] = append(d[words[0]], "")
			}
		}
	}
	for name := range d {
		slices.Sort(d[name])
		d[name] = slices.Compact(d[name])
	}
	return d
}

func (d directives) String() string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(d)) {
		all = append(all, strings.TrimSpace(name+" "+strings.Join(d[name], " ")))
	}
	return strings.Join(all, "; ")
}

// harmless are expressions that allow nothing.
var harmless = []string{"'none'", "'report-sample'", ""}

// weaker lists what a policy allows that the former did not.
func (d directives) weaker(former directives) []string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(former)) {
		now, has := d[name]
		if !has {
			all = append(all, "no "+name)
			continue
		}
		for _, source := range now {
			if !slices.Contains(harmless, source) && !slices.Contains(former[name], source) {
				all = append(all, strings.TrimSpace(name+" "+source))
			}
		}
	}
	return all
}

// weakened tells how a security header got weaker, "" if it did not.
func weakened(name, was, now string) string {
	if now == "" {
		return "removed"
	}
	switch name {
	case "Content-Security-Policy":
		return strings.Join(policy([]string{now}).weaker(policy([]string{was})), "; ")
	case "Strict-Transport-Security":
		return weakerTransport(strings.ToLower(was), strings.ToLower(now))
	case "X-Frame-Options":
		if !strings.EqualFold(was, now) && !strings.EqualFold(now, "deny") {
			return "from " + was + " to " + now
		}
	case "X-Content-Type-Options", "Cross-Origin-Opener-Policy", "Cross-Origin-Embedder-Policy", "Cross-Origin-Resource-Policy":
		if lax := []string{"unsafe-none", "cross-origin"}; !strings.EqualFold(was, now) && (slices.Contains(lax, strings.ToLower(now)) || name == "X-Content-Type-Options") {
			return "from " + was + " to " + now
		}
	case "Referrer-Policy":
		if strings.Contains(strings.ToLower(now), "unsafe-url") && !strings.Contains(strings.ToLower(was), "unsafe-url") {
			return "from " + was + " to " + now
		}
	}
	return ""
}

func weakerTransport(was, now string) string {
	if strings.Contains(was, "includesubdomains") && !strings.Contains(now, "includesubdomains") {
		return "without includeSubDomains"
	}
	if before, after := maxAge(was), maxAge(now); after < before/2 {
		return "max-age " + strconv.Itoa(after) + " instead of " + strconv.Itoa(before)
	}
	return ""
}

func maxAge(header string) int {
	for part := range strings.SplitSeq(header, ";") {
		if text, ok := strings.CutPrefix(strings.TrimSpace(part), "max-age="); ok {
			n, err := strconv.Atoi(strings.Trim(text, `"`))
			if err == nil {
				return n
			}
		}
	}
	return 0
}
