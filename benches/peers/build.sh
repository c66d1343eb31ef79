#!/usr/bin/env bash
# Says what the default features add to a bare service of axum: crates, seconds of a release build from nothing, KiB of the
# binary. Both services are written, built and thrown away in a folder of their own.
set -euo pipefail

crate="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT
export CARGO_TARGET_DIR="$scratch/target" CARGO_INCREMENTAL=0

# service NAME DEPENDENCIES LAYER
service() {
    mkdir -p "$scratch/$1/src"
    cat >"$scratch/$1/Cargo.toml" <<MANIFEST
[package]
name = "$1"
version = "0.0.0"
edition = "2024"

[dependencies]
axum = "0.8"
tokio = { version = "1", features = ["macros", "net", "rt-multi-thread"] }
$2

[profile.release]
strip = true
MANIFEST
    cat >"$scratch/$1/src/main.rs" <<PROGRAM
use axum::{Router, routing::get};

#[tokio::main]
async fn main() {
    let app = Router::new().route("/", get(|| async { "hello" }))$3;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    axum::serve(listener, app).await.expect("it serves");
}
PROGRAM
    # The versions that the crate itself is tested with.
    cp "$crate/benches/peers/Cargo.lock" "$scratch/$1/Cargo.lock"
}

# measure NAME: crates, seconds of all processors, KiB
measure() {
    local manifest="$scratch/$1/Cargo.toml" crates seconds TIMEFORMAT='%U %S'
    cargo fetch --quiet --manifest-path "$manifest"
    crates="$(cargo tree --manifest-path "$manifest" --edges normal,build --prefix none --no-dedupe | awk '{ print $1, $2 }' | sort -u | wc -l)"
    rm -rf "$CARGO_TARGET_DIR"
    seconds="$({ time cargo build --quiet --release --manifest-path "$manifest" >&2; } 2>&1 | awk 'END { print int($1 + $2 + 0.5) }')"
    printf '%s %s %s\n' "$crates" "$seconds" "$(($(stat -c %s "$CARGO_TARGET_DIR/release/$1") / 1024))"
}

service bare "" ""
service resilient "moneta-resilience = { path = \"$crate\" }" \
    '.layer(moneta_resilience::golden::server("hello").timeout(std::time::Duration::from_secs(2)).layer())'
read -r bare_crates bare_seconds bare_kib < <(measure bare)
read -r crates seconds kib < <(measure resilient)
printf '| | crates | seconds of processor time | KiB, stripped |\n|---|---:|---:|---:|\n'
printf '| axum | %s | %s | %s |\n' "$bare_crates" "$bare_seconds" "$bare_kib"
printf '| with a golden server | %s | %s | %s |\n' "$crates" "$seconds" "$kib"
printf '| more | %s | %s | %s |\n' "$((crates - bare_crates))" "$((seconds - bare_seconds))" "$((kib - bare_kib))"
