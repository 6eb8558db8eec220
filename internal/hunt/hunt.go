// Package hunt looks for indicators of compromise through all of a repository's history: SHA-256 of files, literals, regular
// expressions and YARA rules. It tells at which paths each was found, and from when to when.
//
// It promises that every blob that the chosen snapshots need is read once for all literals and regular expressions, however many
// snapshots hold it, but for the exception below; that what lies over the border of two blobs is found, a regular expression's match if it takes no more than
// 4 KiB on either side; that what it tells is there; and that what could not be read is said and counted. A file that is one blob is
// known by that blob's ID, which is its SHA-256: nothing is read for it. Files of several blobs are read from start to end for a
// SHA-256 and for YARA, each content once.
//
// Memory grows with the number of distinct blobs of files that have several, by about 200 bytes for each, with what is found, and
// with what directories there are, by about 100 bytes, if anything is found; not with the number of snapshots. The heads and tails of
// blobs that wait for those beside them in a file, 8 KiB of each for regular expressions, take at most 128 MiB. That is too little where
// a large file keeps changing in many places, and so has its blobs far apart in the packs. Then those blobs are read a second time that
// a match may reach over the ends of, which is counted.
//
// Regular expressions are those of package regexp, and match where it does. They are walked by automata of which states are made as the text needs
// them, at most 64 MiB of them for each blob that is searched at the same time; expressions that need too many are left to package regexp, which takes
// some ten times as long.
package hunt

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kedge-project/kedge/blob"
	"github.com/kedge-project/kedge/repo"
	"github.com/kedge-project/kedge/snapshot"
)

// Type tells what an Indicator is.
type Type string

// The types of indicators.
const (
	SHA256  Type = "sha256"  // of a file's whole content
	Literal Type = "literal" // bytes, given as text
	Hex     Type = "hex"     // bytes, given in hexadecimal
	Regex   Type = "regex"   // a regular expression
	YARA    Type = "yara"    // a rule
)

// Indicator is one thing that is looked for.
type Indicator struct {
	Type  Type   `json:"type"`
	Value string `json:"value"`          // as it was given; the name of a YARA rule
	File  string `json:"file,omitempty"` // that holds the YARA rule
}

// Query is what to look for, as a user gives it.
type Query struct {
	SHA256   []string // 64 hexadecimal digits
	Literals []string
	Hex      []string // "4D 5A 90"
	Regexes  []string // the syntax of Go's package regexp
	YARA     []string // files of rules
}

// Bounds of what is looked for and told.
const (
	mostPatterns = 1000
	mostOffsets  = 5 // of matches in a file that are told
	// MostHits is how many hits are told, a path and an indicator each. A hostile repository has more paths than atoms.
	MostHits = 100_000
)

// Hunt is what to look for. It is safe for concurrent use. Close it.
type Hunt struct {
	indicators []Indicator
	hashes     map[blob.ID][]int // indicators by what they name
	patterns   []pattern
	set        *literalSet // nil if there are few literals
	inSet      []int       // indicators of its literals
	rules      *rules      // nil if there are none
	ruleAt     int         // indicator of the first rule
	reach      int         // most bytes that a match which is to be found takes on one side of a border
}

// pattern is a literal or a regular expression.
type pattern struct {
	indicator int
	context   bool // whether it matches depends on where in the file the text stands
	finder    interface {
		// find returns where matches begin in the text, at most so many, in ascending order.
		find(t text, most int) []int
		// edges tells whether a match may reach over the text's start or end, or depends on what stands there in a file.
		edges(data []byte) (start, end bool)
	}
}

// New returns what the query asks for. An indicator that cannot be looked for is an error that says why.
func New(q Query) (*Hunt, error) {
	h := &Hunt{hashes: make(map[blob.ID][]int)}
	if len(q.Literals)+len(q.Hex)+len(q.Regexes) > mostPatterns {
		return nil, fmt.Errorf("%d literals and regular expressions are more than %d: give a part of them at a time", len(q.Literals)+len(q.Hex)+len(q.Regexes), mostPatterns)
	}
	for _, add := range []struct {
		kind   Type
		values []string
		one    func(value string) error
	}{
		{SHA256, q.SHA256, h.addHash}, {Literal, q.Literals, func(s string) error { return h.addLiteral([]byte(s)) }},
		{Hex, q.Hex, h.addHex}, {Regex, q.Regexes, h.addRegex},
	} {
		for _, value := range add.values {
			if err := add.one(value); err != nil {
				return nil, fmt.Errorf("%s %.80q: %w", add.kind, value, err)
			}
			h.indicators = append(h.indicators, Indicator{Type: add.kind, Value: value})
		}
	}
	h.gather()
	h.share()
	if len(q.YARA) > 0 {
		if err := h.addRules(q.YARA); err != nil {
			return nil, err
		}
	}
	if len(h.indicators) == 0 {
		return nil, errors.New("nothing to look for: give a SHA-256, a literal, a regular expression or YARA rules")
	}
	return h, nil
}

// Close frees what YARA rules take. The Hunt cannot be used any more.
func (h *Hunt) Close() {
	if h.rules != nil {
		h.rules.close()
	}
}

func (h *Hunt) addHash(s string) error {
	id, err := parseHash(s)
	if err == nil {
		h.hashes[id] = append(h.hashes[id], len(h.indicators))
	}
	return err
}

func (h *Hunt) addHex(s string) error {
	content, err := parseHex(s)
	if err != nil {
		return err
	}
	return h.addLiteral(content)
}

func (h *Hunt) addLiteral(content []byte) error {
	l, err := newLiteral(content)
	if err != nil {
		return err
	}
	h.patterns = append(h.patterns, pattern{indicator: len(h.indicators), finder: l})
	h.reach = max(h.reach, len(content)-1)
	return nil
}

// gather puts literals together that are faster found at once.
func (h *Hunt) gather() {
	var literals [][]byte
	var rest []pattern
	for _, p := range h.patterns {
		if l, ok := p.finder.(*literal); ok && len(l.content) >= leastInSet {
			literals = append(literals, l.content)
			h.inSet = append(h.inSet, p.indicator)
		} else {
			rest = append(rest, p)
		}
	}
	if len(literals) > fewLiterals {
		h.set, h.patterns = newLiteralSet(literals), rest
	}
}

// mostOfAllStates bounds the states of all expressions' automata of one worker, in bytes.
const mostOfAllStates = 64 << 20

// share divides the memory for states among the expressions.
func (h *Hunt) share() {
	for _, p := range h.patterns {
		if x, ok := p.finder.(*regex); ok {
			x.states = min(mostStates, mostOfAllStates/3/len(h.patterns))
		}
	}
}

// reads tells whether content must be searched for literals or regular expressions.
func (h *Hunt) reads() bool { return len(h.patterns) > 0 || h.set != nil }

func (h *Hunt) addRegex(expr string) error {
	x, err := newRegex(expr)
	if err != nil {
		return err
	}
	// A rune that is cut at a border makes a difference to every expression.
	h.patterns = append(h.patterns, pattern{indicator: len(h.indicators), context: true, finder: x})
	reach := regexReach
	if x.length != unlimited {
		reach = min(reach, x.length)
	}
	h.reach = max(h.reach, reach+margin)
	return nil
}

func (h *Hunt) addRules(files []string) error {
	var err error
	if h.rules, err = compileRules(files); err != nil {
		return err
	}
	h.ruleAt = len(h.indicators)
	for _, name := range h.rules.names() {
		h.indicators = append(h.indicators, Indicator{Type: YARA, Value: name.rule, File: name.file})
	}
	return nil
}

// Options say how a Hunt goes about it, and who listens.
type Options struct {
	// MostScanned is how many bytes of a file YARA is given, from its start; 0 means DefaultMostScanned. Each of
	// GOMAXPROCS+1 workers takes so much memory.
	MostScanned int
	// Report is told what could not be searched. May be nil; called from one goroutine at a time.
	Report func(err error)
	// Progress is told what is being done and how far it is. May be nil; called from one goroutine at a time.
	Progress func(p Progress)

	borderMemory int // bytes; 0 means mostBorders. For tests.
}

// DefaultMostScanned is how many bytes of a file YARA is given at most, unless Options say otherwise.
const DefaultMostScanned = 64 << 20

// Progress is how far a hunt is.
type Progress struct {
	Directories int   // read, while the directories are looked through
	Read, Total int64 // plain bytes, while content is
}

// Result is what a hunt found.
type Result struct {
	Hits      []Hit `json:"hits"`                // sorted by indicator, as they were given, host and path
	More      bool  `json:"truncated,omitempty"` // there are more hits than MostHits, which are not told
	Snapshots int   `json:"snapshots"`           // that were searched
	Read      Read  `json:"read"`
	Cut       int   `json:"cut,omitempty"` // file contents that YARA was given the start of only
	Problems  int   `json:"problems"`      // what could not be searched
}

// Read is what content was read.
type Read struct {
	Blobs   int     `json:"blobs"`   // data blobs, each as often as it was read
	Again   int     `json:"again"`   // those of them that were read a second time, or more
	Bytes   int64   `json:"bytes"`   // of them, plain
	Seconds float64 `json:"seconds"` // that the whole hunt took
}

// Hit is an indicator that was found at a path.
type Hit struct {
	Indicator Indicator `json:"indicator"`
	Host      string    `json:"host"`
	Path      string    `json:"path"`    // absolute, as stored
	Size      uint64    `json:"size"`    // bytes, of the file when it was last seen
	Offsets   []int64   `json:"offsets"` // where the first few matches begin in it, in bytes; none for a SHA-256
	First     Moment    `json:"first_seen"`
	Last      Moment    `json:"last_seen"`
	InNewest  bool      `json:"in_newest"` // the newest snapshot of the host and these paths holds it
	Snapshots int       `json:"snapshots"` // that hold it
	Spans     []Span    `json:"spans"`     // several if there were snapshots between that hold it not
}

// Moment is a snapshot.
type Moment struct {
	ID   blob.ID   `json:"id"`
	Time time.Time `json:"time"`
}

// Span is several snapshots one after the other, of those of the host that are of paths which had the hit at any time.
type Span struct {
	First     Moment `json:"first"`
	Last      Moment `json:"last"`
	Snapshots int    `json:"snapshots"`
}

// run is one hunt through one repository.
type run struct {
	*Hunt
	r    *repo.Repository
	opt  Options
	list []*snapshot.Snapshot // the oldest first
	s    *survey

	mu       sync.Mutex // for all below, and held while Options' functions run
	result   Result
	done     int64 // bytes read
	total    int64
	seen     *repo.Set // blobs that were read
	blobHits map[blob.ID][]match
	runHits  map[uint32][]match     // by the number of the border run
	fileHits map[contentKey][]match // of files of several blobs
	told     map[string]struct{}    // problems
}

// match is a pattern's first matches in a text.
type match struct {
	indicator int
	role      role // of a blob: where in the file it stands
	at        []int64
}

// Run looks through the snapshots of list. The error says that it could not finish; what could not be read is told to
// Options.Report.
func (h *Hunt) Run(ctx context.Context, r *repo.Repository, list []*snapshot.Snapshot, opt Options) (*Result, error) {
	start := time.Now()
	opt.MostScanned = cmp.Or(opt.MostScanned, DefaultMostScanned)
	opt.borderMemory = cmp.Or(opt.borderMemory, mostBorders)
	u := h.newRun(r, opt)
	u.list = slices.Clone(list)
	slices.SortStableFunc(u.list, func(a, b *snapshot.Snapshot) int { return a.Time.Compare(b.Time) })
	u.result.Hits = []Hit{}
	u.result.Snapshots = len(list)
	for _, step := range []func(context.Context) error{u.survey, u.readBlobs, u.readFiles, u.locate} {
		if err := step(ctx); err != nil {
			return nil, fmt.Errorf("hunt: %w", err)
		}
	}
	u.result.Read.Seconds = time.Since(start).Seconds()
	return &u.result, nil
}

func (h *Hunt) newRun(r *repo.Repository, opt Options) *run {
	return &run{
		Hunt: h, r: r, opt: opt, blobHits: make(map[blob.ID][]match), runHits: make(map[uint32][]match),
		fileHits: make(map[contentKey][]match), told: make(map[string]struct{}), seen: r.NewSet(),
	}
}

// problem tells what could not be searched, once.
func (u *run) problem(err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if _, again := u.told[err.Error()]; again {
		return
	}
	u.told[err.Error()] = struct{}{}
	u.result.Problems++
	if u.opt.Report != nil {
		u.opt.Report(err)
	}
}

// roots returns the distinct trees of the snapshots.
func (u *run) roots() []blob.ID {
	seen := make(map[blob.ID]struct{})
	var roots []blob.ID
	for _, sn := range u.list {
		if _, again := seen[sn.Tree]; !again {
			seen[sn.Tree] = struct{}{}
			roots = append(roots, sn.Tree)
		}
	}
	return roots
}

func (u *run) directories(n int) {
	if u.opt.Progress != nil {
		u.mu.Lock()
		defer u.mu.Unlock()
		u.opt.Progress(Progress{Directories: n})
	}
}

// read counts a blob that was read.
func (u *run) read(id blob.ID, bytes int) {
	again := !u.seen.Add(blob.Handle{ID: id, Type: blob.Data})
	u.mu.Lock()
	defer u.mu.Unlock()
	u.result.Read.Blobs++
	u.result.Read.Bytes += int64(bytes)
	if again {
		u.result.Read.Again++
	}
	u.done += int64(bytes)
	if u.opt.Progress != nil {
		u.opt.Progress(Progress{Read: u.done, Total: max(u.done, u.total)})
	}
}

// earliest returns the first few of several places, in ascending order, each once.
func earliest(at []int64) []int64 {
	slices.Sort(at)
	at = slices.Compact(at)
	return at[:min(len(at), mostOffsets)]
}

func compareHits(order map[Indicator]int) func(a, b Hit) int {
	return func(a, b Hit) int {
		return cmp.Or(cmp.Compare(order[a.Indicator], order[b.Indicator]), strings.Compare(a.Host, b.Host), strings.Compare(a.Path, b.Path))
	}
}
