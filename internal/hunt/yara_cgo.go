//go:build yara

package hunt

/*
#cgo LDFLAGS: -lyara
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yara.h>

// What is taken down of one scan. Nothing in it grows without bound.
enum { MOST_OFFSETS = 8 };

typedef struct {
	int rule;
	int count;
	int64_t at[MOST_OFFSETS];
} hunt_match;

typedef struct {
	YR_RULES *rules;
	hunt_match *matches; // room for one of each rule
	int count;
} hunt_scan;

// What the compiler found wrong first.
typedef struct {
	char text[512];
} hunt_errors;

static void hunt_on_error(int level, const char *file, int line, const YR_RULE *rule, const char *message, void *data) {
	hunt_errors *e = data;
	if (level == YARA_ERROR_LEVEL_ERROR && e->text[0] == 0)
		snprintf(e->text, sizeof e->text, "line %d: %s", line, message);
}

static void hunt_set_callback(YR_COMPILER *compiler, hunt_errors *e) {
	yr_compiler_set_callback(compiler, hunt_on_error, e);
}

static int hunt_on_match(YR_SCAN_CONTEXT *context, int message, void *data, void *user) {
	if (message != CALLBACK_MSG_RULE_MATCHING)
		return CALLBACK_CONTINUE;
	hunt_scan *scan = user;
	YR_RULE *rule = data;
	hunt_match *m = &scan->matches[scan->count++];
	m->rule = rule - scan->rules->rules_table;
	m->count = 0;
	YR_STRING *string;
	YR_MATCH *match;
	yr_rule_strings_foreach(rule, string) {
		yr_string_matches_foreach(context, string, match) {
			int64_t at = match->base + match->offset;
			int i = m->count;
			if (i == MOST_OFFSETS) {
				if (at >= m->at[i - 1])
					continue;
				i--;
			} else {
				m->count++;
			}
			for (; i > 0 && m->at[i - 1] > at; i--)
				m->at[i] = m->at[i - 1];
			m->at[i] = at;
		}
	}
	return CALLBACK_CONTINUE;
}

static int hunt_run(hunt_scan *scan, const void *data, size_t size, int timeout) {
	return yr_rules_scan_mem(scan->rules, data, size, 0, hunt_on_match, scan, timeout);
}

static int hunt_rules(YR_RULES *rules) { return rules->num_rules; }
static const char *hunt_name(YR_RULES *rules, int i) { return rules->rules_table[i].identifier; }
static const char *hunt_namespace(YR_RULES *rules, int i) { return rules->rules_table[i].ns->name; }
*/
import "C"

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"unsafe"
)

// scanTimeout bounds the scan of one file, in seconds: rules may take long on some contents.
const scanTimeout = 120

// rules are compiled YARA rules. Several goroutines may scan at once.
type rules struct {
	compiled *C.YR_RULES
	list     []ruleName
}

// compileRules compiles all rules of some files. They may include others, by their paths from the working directory.
func compileRules(files []string) (*rules, error) {
	if n := C.yr_initialize(); n != C.ERROR_SUCCESS {
		return nil, fmt.Errorf("start YARA: %w", yaraError(n))
	}
	r, err := compile(files)
	if err != nil {
		C.yr_finalize()
		return nil, err
	}
	return r, nil
}

func compile(files []string) (*rules, error) {
	var compiler *C.YR_COMPILER
	if n := C.yr_compiler_create(&compiler); n != C.ERROR_SUCCESS {
		return nil, fmt.Errorf("start YARA: %w", yaraError(n))
	}
	defer C.yr_compiler_destroy(compiler)
	wrong := (*C.hunt_errors)(C.calloc(1, C.sizeof_hunt_errors))
	defer C.free(unsafe.Pointer(wrong))
	C.hunt_set_callback(compiler, wrong)
	for i, file := range files {
		if err := addFile(compiler, wrong, i, file); err != nil {
			return nil, err
		}
	}
	r := new(rules)
	if n := C.yr_compiler_get_rules(compiler, &r.compiled); n != C.ERROR_SUCCESS {
		return nil, fmt.Errorf("compile YARA rules: %w", yaraError(n))
	}
	for i := range C.hunt_rules(r.compiled) {
		file, err := strconv.Atoi(C.GoString(C.hunt_namespace(r.compiled, i)))
		if err != nil || file >= len(files) {
			return nil, errors.New("compile YARA rules: a rule of no file")
		}
		r.list = append(r.list, ruleName{C.GoString(C.hunt_name(r.compiled, i)), files[file]})
	}
	if len(r.list) == 0 {
		C.yr_rules_destroy(r.compiled)
		return nil, fmt.Errorf("YARA rules %q: there are none in it", files)
	}
	return r, nil
}

// addFile compiles a file. Its rules are in a namespace of their own, so that files may use the same names.
func addFile(compiler *C.YR_COMPILER, wrong *C.hunt_errors, number int, file string) error {
	content, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("read YARA rules: %w", err)
	}
	if slices.Contains(content, 0) {
		return fmt.Errorf("YARA rules %s: there is a zero byte in it: give rules in source, not compiled", file)
	}
	source, name := C.CString(string(content)), C.CString(strconv.Itoa(number))
	defer C.free(unsafe.Pointer(source))
	defer C.free(unsafe.Pointer(name))
	if C.yr_compiler_add_string(compiler, source, name) == 0 {
		return nil
	}
	return fmt.Errorf("YARA rules %s, %s; yara(1) tells more: yara %s /dev/null", file, C.GoString(&wrong.text[0]), file)
}

func (r *rules) names() []ruleName { return r.list }

// scan returns the rules that some content fulfils.
func (r *rules) scan(data []byte) ([]ruleMatch, error) {
	room := C.calloc(C.size_t(len(r.list)), C.sizeof_hunt_match)
	if room == nil {
		return nil, errors.New("no memory")
	}
	defer C.free(room)
	// YARA reads the memory of data while it scans, and keeps no pointer to it.
	s := (*C.hunt_scan)(C.calloc(1, C.sizeof_hunt_scan))
	if s == nil {
		return nil, errors.New("no memory")
	}
	defer C.free(unsafe.Pointer(s))
	s.rules, s.matches = r.compiled, (*C.hunt_match)(room)
	var first unsafe.Pointer
	if len(data) > 0 {
		first = unsafe.Pointer(&data[0])
	}
	if n := C.hunt_run(s, first, C.size_t(len(data)), scanTimeout); n != C.ERROR_SUCCESS {
		return nil, yaraError(n)
	}
	found := make([]ruleMatch, 0, s.count)
	for _, m := range unsafe.Slice(s.matches, int(s.count)) {
		f := ruleMatch{rule: int(m.rule)}
		for _, at := range m.at[:m.count] {
			f.at = append(f.at, int64(at))
		}
		found = append(found, f)
	}
	return found, nil
}

func (r *rules) close() {
	C.yr_rules_destroy(r.compiled)
	C.yr_finalize()
}

// yaraError says in words what the more likely errors of libyara are.
func yaraError(n C.int) error {
	switch n {
	case C.ERROR_INSUFFICIENT_MEMORY:
		return errors.New("YARA has no memory")
	case C.ERROR_SCAN_TIMEOUT:
		return fmt.Errorf("YARA took longer than %d s", scanTimeout)
	case C.ERROR_TOO_MANY_MATCHES:
		return errors.New("a string of a YARA rule has too many matches: make it more specific")
	}
	return fmt.Errorf("error %d of YARA", int(n))
}
