package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"
)

// A cluster is pgbench's own tables, filled by fill. All take pgbench's transactions.
var clusters = []struct {
	name, what string
	fill       func(s *session, ctx context.Context) error
}{
	{"pgbench", "pgbench's rows, which compress more than 20:1 and flatter every program", (*session).fillPgbench},
	{"text", "rows of some 800 characters of text, which compress as real text does", (*session).fillText},
}

func clusterNames() []string {
	var names []string
	for _, c := range clusters {
		names = append(names, c.name)
	}
	return names
}

func (s *session) fillPgbench(ctx context.Context) error {
	_, err := s.output(ctx, s.pg("pgbench"), "--initialize", "--quiet", "--scale", strconv.Itoa(s.opt.scale))
	return err
}

// accountsPerBranch is pgbench's.
const accountsPerBranch = 100_000

// fillText makes as many bytes as fillPgbench does, of fewer and longer rows.
func (s *session) fillText(ctx context.Context) error {
	scale := strconv.Itoa(max(1, s.opt.scale*2/11))
	pgbench := func(steps string) error {
		_, err := s.output(ctx, s.pg("pgbench"), "--initialize", "--quiet", "--init-steps", steps, "--scale", scale)
		return err
	}
	if err := pgbench("dt"); err != nil {
		return err
	}
	branches, _ := strconv.Atoi(scale)
	conn, err := s.server.dial(ctx, "bench")
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	// Rows that are frozen as they come are not written a second time: the table must be new in the same transaction.
	_, err = conn.Exec(ctx, fmt.Sprintf(`BEGIN;
ALTER TABLE pgbench_accounts ALTER filler TYPE text;
INSERT INTO pgbench_branches (bid, bbalance) SELECT n, 0 FROM generate_series(1, %[1]d) AS n;
INSERT INTO pgbench_tellers (tid, bid, tbalance) SELECT n, (n - 1) / 10 + 1, 0 FROM generate_series(1, %[1]d * 10) AS n;
TRUNCATE pgbench_accounts`, branches)).ReadAll()
	if err != nil {
		return fmt.Errorf("make tables of text: %w", err)
	}
	rows := newAccounts(branches * accountsPerBranch)
	if _, err := conn.CopyFrom(ctx, rows, "COPY pgbench_accounts (aid, bid, abalance, filler) FROM STDIN (FREEZE)"); err != nil {
		return fmt.Errorf("fill tables with text: %w", err)
	}
	if _, err := conn.Exec(ctx, "COMMIT").ReadAll(); err != nil {
		return fmt.Errorf("fill tables with text: %w", err)
	}
	return pgbench("vp")
}

// accounts reads as the lines of COPY: n accounts, each with a text.
type accounts struct {
	prose   *prose
	at, n   int
	pending bytes.Buffer
}

func newAccounts(n int) *accounts { return &accounts{prose: newProse(1), n: n} }

func (a *accounts) Read(p []byte) (int, error) {
	for a.pending.Len() < len(p) && a.at < a.n {
		a.at++
		fmt.Fprintf(&a.pending, "%d\t%d\t0\t", a.at, (a.at-1)/accountsPerBranch+1)
		a.prose.write(&a.pending, 200+a.prose.rnd.IntN(1200))
		a.pending.WriteByte('\n')
	}
	if a.pending.Len() == 0 {
		return 0, io.EOF
	}
	return a.pending.Read(p)
}

// prose makes text with the redundancy of a natural language: words of syllables, the frequent ones short, by Zipf's law; some
// go together more often than chance has it; sentences with capitals and stops. It holds no passage that comes back.
type prose struct {
	rnd    *rand.Rand
	words  []string
	drawn  []uint16 // words, as often as Zipf's law has them: drawing among these is cheap
	follow []uint16 // the word that likes to follow each
}

const vocabulary = 30_000 // words; their numbers fit into 16 bits

func newProse(seed uint64) *prose {
	rnd := rand.New(rand.NewPCG(seed, 0))
	p := &prose{rnd: rnd, words: make([]string, vocabulary), follow: make([]uint16, vocabulary)}
	zipf := rand.NewZipf(rnd, 1.15, 4, vocabulary-1)
	p.drawn = make([]uint16, 1<<17)
	for i := range p.drawn {
		p.drawn[i] = uint16(zipf.Uint64())
	}
	seen := map[string]bool{}
	for i := range p.words {
		for {
			// 30 words of one syllable, some hundreds of two, and so on.
			word := ""
			for n := 1; ; n++ {
				word += syllable(rnd)
				if n >= 4 || n >= 1 && i < 30 || n >= 2 && i < 800 || n >= 2 && rnd.IntN(3) == 0 {
					break
				}
			}
			if !seen[word] {
				seen[word], p.words[i] = true, word
				break
			}
		}
	}
	for i := range p.follow {
		p.follow[i] = p.draw()
	}
	return p
}

func (p *prose) draw() uint16 { return p.drawn[p.rnd.Uint32()%uint32(len(p.drawn))] }

// syllable favours, as languages do, some letters.
func syllable(rnd *rand.Rand) string {
	const onsets, vowels, codas = "ttnnsshhrrddllccmmffppgwbvkjyqz", "eeeeeaaaooiiu", "nnrrstldm"
	s := string(onsets[rnd.IntN(len(onsets))]) + string(vowels[rnd.IntN(len(vowels))])
	if rnd.IntN(2) == 0 {
		s += string(codas[rnd.IntN(len(codas))])
	}
	return s
}

// write appends about so many characters.
func (p *prose) write(b *bytes.Buffer, characters int) {
	end := b.Len() + characters
	word, left := uint16(0), 0
	for b.Len() < end {
		if p.rnd.IntN(3) == 0 {
			word = p.follow[word]
		} else {
			word = p.draw()
		}
		text := p.words[word]
		if left == 0 {
			left = 5 + p.rnd.IntN(20)
			text = strings.ToUpper(text[:1]) + text[1:]
		}
		b.WriteString(text)
		if left--; left == 0 {
			b.WriteByte('.')
		} else if p.rnd.IntN(12) == 0 {
			b.WriteByte(',')
		}
		b.WriteByte(' ')
	}
}

// addTransactions runs so many of pgbench's transactions.
func (s *session) addTransactions(ctx context.Context, n int) error {
	_, err := s.output(ctx, s.pg("pgbench"), "--no-vacuum", "--transactions", strconv.Itoa(n))
	return err
}

// load runs pgbench's transactions, four at a time, as fast as they go, and returns what pgbench says of them.
func (s *session) load(ctx context.Context, long time.Duration) (string, error) {
	return s.output(ctx, s.pg("pgbench"), "--no-vacuum", "--client", "4", "--jobs", "2", "--time", strconv.Itoa(int(long.Seconds())))
}

// makeBacklog writes at least so many bytes of WAL: every account is changed, and so every page written whole once, over and over.
func (s *session) makeBacklog(ctx context.Context, size int64) error {
	begin, err := s.server.position(ctx)
	if err != nil {
		return err
	}
	greatest, err := s.server.askOne(ctx, "SELECT max(aid) FROM pgbench_accounts")
	if err != nil {
		return err
	}
	accounts, err := strconv.Atoi(greatest)
	if err != nil {
		return err
	}
	const parts = 50
	for part := 0; ; part++ {
		from := part % parts * accounts / parts
		to := (part%parts + 1) * accounts / parts
		update := fmt.Sprintf("UPDATE pgbench_accounts SET abalance = abalance + 1 WHERE aid > %d AND aid <= %d", from, to)
		if _, err := s.server.ask(ctx, "bench", update); err != nil {
			return err
		}
		now, err := s.server.position(ctx)
		if err != nil {
			return err
		}
		if int64(now-begin) >= size {
			return nil
		}
		if part > 100*parts {
			return errors.New("make a backlog of WAL: it does not grow")
		}
	}
}
