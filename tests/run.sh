#!/usr/bin/env bash
# Runs every check of the crate, from anywhere, on a machine with a Rust toolchain and a package manager.
#
# Nothing is skipped: what a check needs and the machine lacks is installed first (a C linker, valgrind, rustfmt and
# clippy, Python, Prometheus, Postgres, Redis). All checks run even when one fails; the last line names those that did,
# and the exit code says the same.
#
#   CARGO_TARGET_DIR    where to build; `target` beside the manifest by default
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
cd "$root"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$root/target}"
source tests/need.sh
source tests/servers.sh

failed=()

# check "what it proves" command [argument…]
check() {
    local what="$1" status=0 began=$SECONDS
    shift
    printf '\n=== %s\n' "$what"
    # Not in an `if` or a `||`: those would switch `set -e` off inside the functions below.
    set +e
    (set -euo pipefail && "$@")
    status=$?
    set -e
    if ((status)); then
        failed+=("$what")
        printf -- '--- FAILED (%s): %s, %s s\n' "$status" "$what" "$((SECONDS - began))"
    else
        printf -- '--- ok: %s, %s s\n' "$what" "$((SECONDS - began))"
    fi
}

lock_file() { cargo metadata --locked --format-version 1 >/dev/null; }

tools() {
    need cc gcc
    need valgrind valgrind
    cargo fmt --version 2>/dev/null || rustup component add rustfmt
    cargo clippy --version 2>/dev/null || rustup component add clippy
}

# What the manifest says, without a tool for JSON: one package, its features and its examples.
metadata() { cargo metadata --no-deps --offline --format-version 1; }
features() { metadata | grep -o '"features":{[^}]*}' | grep -o '"[^"]*":\[' | tr -d '":[' | sort; }
examples() {
    metadata | grep -o '"kind":\["example"\],"crate_types":\["bin"\],"name":"[^"]*"' | sed 's/.*"name":"//; s/"$//' | sort
}

each_feature_alone() {
    local feature
    # The library without what the tests pull in: a feature that leans on a dependency of theirs must not pass.
    for feature in $(features); do
        printf '%s\n' "-- $feature"
        cargo clippy --no-default-features --features "$feature" -- -D warnings
    done
}

# A package of its own, so that nobody else builds the peers. Its numbers need an idle machine: they are not taken here.
peers_compile() {
    cargo fmt --manifest-path benches/peers/Cargo.toml --check
    cargo clippy --manifest-path benches/peers/Cargo.toml --locked --all-targets -- -D warnings
}

every_example() {
    local example
    cargo build --release --all-features --examples
    for example in $(examples); do
        printf '%s\n' "-- $example"
        cargo run --release --all-features --example "$example"
    done
}

# With its keys in each of the real servers; without arguments it has run among the others.
payments_once() {
    local program="$CARGO_TARGET_DIR/release/examples/payments"
    "$program" --postgres "$MONETA_POSTGRES_URL"
    "$program" --redis "$MONETA_REDIS_URL"
}

# What the crate tells, heard by others. Each check starts what it needs on free ports of the loopback interface, and stops
# it, whatever happens.
prometheus_scrapes() {
    need python3 python3
    need prometheus prometheus
    need promtool prometheus
    cargo build --release --all-features --example quickstart
    objectives_are_written
    python3 -B tests/e2e/prometheus.py "$CARGO_TARGET_DIR/release/examples/quickstart" "$CARGO_TARGET_DIR/slo"
}

# What comes out of objectives: Grafana reads the dashboards, and the rules say what they should, and when. The rules of the
# hostile name are no example's; a unit test holds them against the code.
objectives_are_watched() {
    local out="$CARGO_TARGET_DIR/slo"
    need promtool prometheus
    objectives_are_written
    cp tests/slo/*.test.yml "$out"
    cp tests/slo/rules/hostile.yml "$out/rules"
    promtool check rules "$out"/rules/*.yml
    promtool test rules "$out"/*.test.yml
    python_of_tests
    "$CARGO_TARGET_DIR/e2e-python/bin/python" -B tests/e2e/dashboards.py "$out"/dashboards/*.json
}

objectives_are_written() {
    rm -rf "$CARGO_TARGET_DIR/slo"
    cargo run --release --all-features --example slo -- "$CARGO_TARGET_DIR/slo"
}

# Python with what the tests need, in e2e-python.
python_of_tests() {
    local python="$CARGO_TARGET_DIR/e2e-python"
    need python3 python3
    python3 -c 'import ensurepip' || install python3-venv
    python3 -m venv "$python"
    "$python/bin/pip" install -q --disable-pip-version-check -r tests/e2e/requirements.txt
}

collector_receives() {
    local python="$CARGO_TARGET_DIR/e2e-python"
    python_of_tests
    "$python/bin/python" -B -m unittest discover -s tests/e2e
    cargo build --release --all-features --example one_trace
    "$python/bin/python" -B tests/e2e/one_trace.py "$CARGO_TARGET_DIR/release/examples/one_trace"
}

every_interleaving() {
    # Another `cfg` for all dependencies, so a folder of its own.
    RUSTFLAGS="--cfg moneta_loom" CARGO_TARGET_DIR="$CARGO_TARGET_DIR/loom" cargo test --lib loom_
}

documentation() {
    local feature
    export RUSTDOCFLAGS="-D warnings"
    cargo doc --no-deps --all-features
    # As most will build it, and with little of it there: nothing leads to what is not.
    cargo doc --no-deps
    for feature in $(features); do
        printf '%s\n' "-- $feature"
        cargo doc --no-deps --no-default-features --features "$feature"
    done
}

package() {
    local output status=0 flags=()
    # A clean tree needs no flag. On a dirty one, which a build server must not have, we package what lies there.
    if [[ -z "${CI:-}" && -n "$(git status --porcelain 2>/dev/null)" ]]; then
        printf 'note: the tree has changes that are not committed; packaging them too\n'
        flags=(--allow-dirty)
    fi
    output="$(cargo package ${flags[@]+"${flags[@]}"} 2>&1)" || status=$?
    printf '%s\n' "$output"
    ((status == 0)) || return "$status"
    if grep -q '^warning' <<<"$output"; then
        printf 'cargo package is not clean: see the warnings above\n' >&2
        return 1
    fi
}

# In a function, so that bash has read all of this file before it starts.
main() {
    check "tools" tools
    check "Cargo.lock is current" lock_file
    check "format" cargo fmt --check
    check "clippy, all features" cargo clippy --all-targets --all-features -- -D warnings
    check "clippy, no features" cargo clippy --all-targets --no-default-features -- -D warnings
    check "each feature alone" each_feature_alone
    check "tests, all features" with_servers cargo test --all-features
    check "tests, no features" cargo test --no-default-features
    check "logs without OpenTelemetry" cargo test --no-default-features --features http,logs --test it correlation
    check "every interleaving (loom)" every_interleaving
    check "documentation" documentation
    check "package" package
    check "benches compile" cargo bench --all-features --no-run
    check "the comparison with peers compiles" peers_compile
    check "instructions of a call" benches/instructions.sh
    check "examples" every_example
    check "payments are made once, over real servers" with_servers payments_once
    check "objectives are watched" objectives_are_watched
    check "a real Prometheus scrapes" prometheus_scrapes
    check "a collector receives" collector_receives

    printf '\n'
    if ((${#failed[@]})); then
        printf 'FAILED after %s s:' "$SECONDS"
        printf ' [%s]' "${failed[@]}"
        printf '\n'
        exit 1
    fi
    printf 'all checks passed in %s s\n' "$SECONDS"
}

main
