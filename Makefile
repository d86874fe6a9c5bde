# The verbs of this repository, for people and for CI. `make` alone lists them.

.DEFAULT_GOAL := help
.PHONY: help run demo test bench bench-ingest bench-notifier lint fmt screenshot fuzz

# Where `make run` listens; a wildcard address is reached on loopback.
HTTP_ADDR ?= 127.0.0.1:8000
HOOK = http://$(subst 0.0.0.0,127.0.0.1,$(HTTP_ADDR))/api/hook/
EVENTS ?= 200
RATE ?= 20
TARGET ?= body
SECONDS ?= 600

help: ## List these verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## Start a broker and mandrill-live on this machine; Ctrl-C stops both
	@python3 scripts/run.py

demo: ## Send sample events to `make run` (EVENTS=200, RATE=20 a second)
	@cargo run --release --locked --package mandrill-live -- \
		send --url $(HOOK) --events $(EVENTS) --rate $(RATE) --batch 4

test: ## Check formatting, lint, and run every test, the browser's included
	@scripts/test.sh

bench: ## Measure storing and delivering, side by side with what they are built on
	@$(MAKE) --no-print-directory bench-ingest bench-notifier

bench-ingest: ## ... only storing: beside a bare client, and with and without group commit
	@cargo build --quiet --release --locked --package ingest --package bench
	@NATS_SERVER=$$(python3 scripts/nats_server.py) target/release/bench ingest
	@NATS_SERVER=$$(python3 scripts/nats_server.py) target/release/bench crossing

bench-notifier: ## ... only delivering: beside the floor and nats-server's WebSocket (ONLY=batch for some cases)
	@cargo build --quiet --release --locked --package notifier --package bench
	@NATS_SERVER=$$(python3 scripts/nats_server.py) target/release/bench run --only "$(ONLY)"

fuzz: ## Try to break a parser (TARGET=body|form|event|cut, SECONDS=600)
	@scripts/fuzz.sh $(TARGET) $(SECONDS)

lint: ## Check formatting and lint, with warnings as errors
	cargo fmt --check
	cargo clippy --workspace --all-targets --all-features --locked -- -D warnings

fmt: ## Format the code
	cargo fmt

screenshot: ## Take docs/screenshot.png from the running page
	@cargo build --release --locked --package mandrill-live
	@MANDRILL_LIVE=$(or $(CARGO_TARGET_DIR),$(CURDIR)/target)/release/mandrill-live \
		scripts/browser.sh screenshot.mjs docs/screenshot.png
