#!/usr/bin/env bash
# Measures what a call costs through this crate and through its peers, in one process, and what becomes of it at scale.
#
#   benches/peers/run.sh              prints them: some ten minutes on an idle machine
#   benches/peers/run.sh --write      puts them into docs/performance.md and README.md as well
#   benches/peers/run.sh --counts     without the times, on a machine that does other work as well
#   benches/peers/run.sh breaker      of one table only what has this in its name
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")"
command -v valgrind >/dev/null || { printf 'valgrind is needed: it counts the instructions\n' >&2; exit 1; }
cargo build --release --locked --bins
programs="${CARGO_TARGET_DIR:-target}/release"
"$programs/peers" "$@"
case "$*" in
    "" | --write) "$programs/scale" "$@" ;;
esac
