#!/usr/bin/env bash
# `make test`: everything a change has to pass, in the order of what fails fastest. Needs a Rust
# toolchain, Python 3 and Node 20 or newer; a broker and a browser are installed where there is none.
set -euo pipefail
cd "$(dirname "$0")/.."

step() { printf '\n== %s\n' "$*"; }
missing() { echo "make test: $*" >&2; exit 1; }

command -v cargo >/dev/null || missing "cargo is missing: install the Rust toolchain"
cargo fmt --version >/dev/null 2>&1 || missing "rustfmt is missing: rustup component add rustfmt"
cargo clippy --version >/dev/null 2>&1 || missing "clippy is missing: rustup component add clippy"
command -v node >/dev/null || missing "node is missing: install Node 20 or newer"

step "what the tests need"
NATS_SERVER=$(python3 scripts/nats_server.py)
export NATS_SERVER
"$NATS_SERVER" --version
node=$(scripts/browser.sh --version)
echo "node: $node"

step "fixtures are what their generator writes"
python3 shared/fixtures/make_signed.py --check

step "Swagger UI is what its authors publish"
python3 scripts/swagger_ui.py --check

step "what make run promises about processes"
python3 scripts/test_run.py

step "the Kubernetes manifests"
make --no-print-directory check-k8s

step "the release workflow"
make --no-print-directory check-workflows

step "formatting and lint"
make --no-print-directory lint

step "unit and integration tests, against a real broker"
cargo test --workspace --locked

step "the page's modules"
node --test --test-reporter=spec notifier/src/{page,doc}/tests/*.test.js

step "the page in a real browser"
# The same targets and features as the tests, so that only what those left out is built.
cargo build --workspace --all-targets --locked
# One file after the other: each has a browser, a broker and both services of its own.
mapfile -t files < <(cd cli/tests/browser && printf '%s\n' *.test.mjs)
scripts/browser.sh --test --test-concurrency=1 --test-reporter=spec "${files[@]}"

step "the running services against the OpenAPI document"
scripts/contract.sh

step "a rolling update of the notifier behind the gateway"
python3 scripts/rehearse_update.py --binaries "${CARGO_TARGET_DIR:-target}/debug" --sessions 100

step "faults under load, for about a minute"
# A machine that is slow or busy may take some times as long as what is promised; what is lost is lost on any.
"${CARGO_TARGET_DIR:-target}/debug/faults" --binaries "${CARGO_TARGET_DIR:-target}/debug" --seed 1 --minutes 0.7 --slack 4
