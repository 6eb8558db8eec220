# make exercise   the whole story on real services: attacked, contained, recovered, proven
# make test       all tests
# make lint       gofmt, go vet, staticcheck
# make test-long  the tests again under the race detector, an exercise, interrupted at every stage, every storage call failing, 200 kills, every PostgreSQL, YARA
# make fuzz       every fuzz target for FUZZTIME
# make bench      kedge against restic and what other peers are on PATH; BENCH_FLAGS='-scale 1 -rounds 3'
# make bench-postgres  capture and recovery of PostgreSQL against pg_basebackup, pgBackRest, barman and restic: 40 GB of disk
# make bench-detect  attacks and ordinary work on trees made from seeds: what is told, missed and falsely told, and what detection costs
# make bench-assess  what an assessment reads and takes, by what is kept and by what changed
# make microbench every Go benchmark

EXERCISE_PACKAGES = postgresql nginx-light dovecot-imapd dovecot-lmtpd exim4-daemon-light
TEST_PACKAGES = $(EXERCISE_PACKAGES) restic poppler-utils file openssh-client openssh-server openssh-sftp-server mariadb-server slapd ldap-utils sqlite3 xz-utils chromium chromium-sandbox
FUZZTIME ?= 30s
# POSTGRES_VERSIONS is where other versions of PostgreSQL are unpacked; other users must get through to it.
POSTGRES_VERSIONS ?= $(or $(TMPDIR),/tmp)/kedge-postgres-versions
GO ?= go

.PHONY: build exercise test test-long lint fuzz bench bench-postgres bench-detect bench-assess microbench packages test-packages clean

build:
	$(GO) build -trimpath -o bin/kedge ./cmd/kedge

exercise: packages build
	bin/kedge exercise $(EXERCISE_FLAGS)

test: test-packages
	$(GO) test -timeout 20m ./...

test-long: test-packages
	$(GO) test -race -count=1 -timeout 90m ./...
	GOFLAGS=-race $(GO) test -tags long -count=1 -timeout 60m -run 'TheExercise|Interrupted|EachCallToStorage' -v ./cmd/kedge
	$(GO) test -tags long -count=1 -timeout 30m -run 'TestKilled|Lost' -v ./cmd/kedge
	scripts/postgres-versions $(POSTGRES_VERSIONS)
	scripts/install-packages libyara-dev
	$(GO) test -tags yara -count=1 ./internal/hunt
	KEDGE_TEST_POSTGRES=$(POSTGRES_VERSIONS) $(GO) test -tags long -count=1 -timeout 30m -run 'EveryVersion' -v ./internal/asset/postgres

lint:
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); \
	if [ -n "$$unformatted" ]; then echo "gofmt these: $$unformatted" >&2; exit 1; fi
	$(GO) vet ./...
	$(GO) tool staticcheck ./...

fuzz:
	GO=$(GO) scripts/fuzz $(FUZZTIME)

bench: build
	@scripts/install-packages restic
	$(GO) run ./bench -write bench/README.md $(BENCH_FLAGS)

bench-postgres:
	@scripts/install-packages postgresql pgbackrest barman restic
	$(GO) run ./bench/postgres -write bench/postgres/README.md $(BENCH_FLAGS)

bench-detect: build
	@scripts/install-packages gnupg age git gcc binutils rsync sqlite3 xz-utils zstd zip unzip p7zip-full bzip2 gettext e2fsprogs restic
	$(GO) run ./bench/detect -write bench/detect/README.md $(BENCH_FLAGS)

bench-assess: build
	@scripts/install-packages restic
	$(GO) run ./bench/assess -write bench/assess $(BENCH_FLAGS)

microbench:
	$(GO) test -run '^$$' -bench . -benchmem ./...

packages:
	@scripts/install-packages $(EXERCISE_PACKAGES)

test-packages:
	@scripts/install-packages $(TEST_PACKAGES)

clean:
	rm -rf bin
