#!/usr/bin/env bash
# `make fuzz`: one target for some time, from its corpus on. Runs on a stable toolchain: coverage is an
# LLVM pass that stable rustc can be asked for; sanitizers are not, and unsafe code is forbidden here anyway.
set -euo pipefail
cd "$(dirname "$0")/.."

target=${1:?a target: a name of fuzz/targets}
seconds=${2:?how many seconds}
work=.local/fuzz/$target

stop() { echo "make fuzz: $*" >&2; exit 1; }

[ -f "fuzz/targets/$target.rs" ] || stop "there is no target $target: there are $(cd fuzz/targets && echo *.rs | sed 's/\.rs//g')"
command -v cargo >/dev/null || stop "cargo is missing: install the Rust toolchain"
compiler=${CXX:-c++}
command -v "$compiler" >/dev/null || stop "a C++ compiler is missing ($compiler): libFuzzer is built with it; install g++ or clang"

# Counters at every edge, and the operands of comparisons, so that libFuzzer can find its way past them.
flags=(
  -Cpasses=sancov-module
  -Cllvm-args=-sanitizer-coverage-level=4
  -Cllvm-args=-sanitizer-coverage-inline-8bit-counters
  -Cllvm-args=-sanitizer-coverage-pc-table
  -Cllvm-args=-sanitizer-coverage-trace-compares
  -Ccodegen-units=1
  --cfg fuzzing
)
# A named platform keeps the flags from build scripts and macros, which have no libFuzzer to link with.
host=$(rustc -vV | sed -n 's/^host: //p')
build=${CARGO_TARGET_DIR:-target}/fuzz
# Not --locked: the services' dependencies change without this workspace.
RUSTFLAGS="${flags[*]}" cargo build --manifest-path fuzz/Cargo.toml --release \
  --target "$host" --target-dir "$build" --bin "$target"

# What it finds on its way is kept apart from the corpus in the repository, which stays small.
mkdir -p "$work/corpus"
"$build/$host/release/$target" \
  -max_total_time="$seconds" -max_len=8192 -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
  -artifact_prefix="$work/" "$work/corpus" "fuzz/corpus/$target" ||
  stop "an input breaks a promise; it is in $work. Make a test of it, or put it into fuzz/corpus/$target"
