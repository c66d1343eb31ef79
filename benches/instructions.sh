#!/usr/bin/env bash
# Counts the instructions of one call through each stack, and compares them with benches/instructions.txt.
#
#   benches/instructions.sh            fails when a scenario grew by more than 5 % and more than 3 instructions, or a
#                                      disarmed fault hook costs more than 60
#   benches/instructions.sh --bless    writes the counts down as the new baseline
#
# Each scenario runs under callgrind for N calls and for 2 N; the difference by N is one call, free of what starting
# the program costs. Counts belong to a compiler: under another one than the baseline's, the new counts are shown and
# nothing fails, except that a scenario is missing or does not run.
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
cd "$root"
baseline="benches/instructions.txt"
calls=2000
bless=""
case "${1:-}" in
    --bless) bless=1 ;;
    "") ;;
    *) printf 'usage: %s [--bless]\n' "$0" >&2 && exit 2 ;;
esac
command -v valgrind >/dev/null || { printf 'valgrind is needed: install it, or run tests/run.sh, which does\n' >&2; exit 1; }

compiler="$(rustc --version), $(rustc -vV | sed -n 's/^host: //p')"
program="$(cargo bench --all-features --bench instructions --no-run --message-format=json |
    sed -n 's/.*"name":"instructions".*"executable":"\([^"]*\)".*/\1/p')"

# instructions SCENARIO CALLS
instructions() {
    local log
    if ! log="$(valgrind --tool=callgrind --callgrind-out-file=/dev/null "$program" "$1" "$2" 2>&1)"; then
        printf '%s\n' "$log" >&2
        return 1
    fi
    sed -n 's/.*Collected : \([0-9]*\).*/\1/p' <<<"$log"
}

scenarios="$("$program" --list)"
comparable=1
if [[ -z "$bless" ]] && ! grep -qxF "# $compiler" "$baseline"; then
    comparable=""
    printf 'note: the baseline is of another compiler; nothing is compared\n  baseline: %s\n  here:     %s\n' \
        "$(sed -n '2s/^# //p' "$baseline")" "$compiler"
fi

counts=""
grown=()
printf '%-32s %12s %12s %8s\n' "one call" "instructions" "baseline" "change"
for scenario in $scenarios; do
    once="$(instructions "$scenario" "$calls")"
    twice="$(instructions "$scenario" "$((2 * calls))")"
    count=$(((twice - once + calls / 2) / calls))
    counts+="$scenario $count"$'\n'
    before="$(awk -v scenario="$scenario" '$1 == scenario { print $2 }' "$baseline" 2>/dev/null || true)"
    if [[ -n "$before" ]]; then
        change="$(awk -v now="$count" -v before="$before" 'BEGIN { printf "%+.1f %%", 100 * (now - before) / before }')"
        if ((100 * count > 105 * before && count > before + 3)); then
            grown+=("$scenario: $before -> $count")
        fi
    else
        change="new"
        grown+=("$scenario: not in the baseline")
    fi
    printf '%-32s %12s %12s %8s\n' "$scenario" "$count" "${before:--}" "$change"
done
# The same stack with a fault hook that is disarmed, and without one.
for answer in ready pending; do
    hook="$(awk -v with="hook_disarmed/$answer" -v without="hook_none/$answer" \
        '$1 == with { hook += $2 } $1 == without { hook -= $2 } END { print hook }' <<<"$counts")"
    printf 'a disarmed fault hook, %s: %s instructions\n' "$answer" "$hook"
    if ((hook > 60)); then
        grown+=("a disarmed fault hook, $answer: $hook, and 60 is the bound")
    fi
done
while read -r scenario _; do
    if ! grep -qxF "$scenario" <<<"$scenarios"; then
        grown+=("$scenario: in the baseline, and no scenario any more")
    fi
done < <(grep -v '^#' "$baseline" 2>/dev/null || true)

if [[ -n "$bless" ]]; then
    {
        printf '# Instructions of one call; written by benches/instructions.sh --bless under\n# %s\n' "$compiler"
        printf '%s' "$counts"
    } >"$baseline"
    printf 'written to %s\n' "$baseline"
elif [[ -n "$comparable" ]] && ((${#grown[@]})); then
    printf '\nthe cost of a call changed; if that is meant, run benches/instructions.sh --bless and say why in the commit:\n'
    printf '  %s\n' "${grown[@]}"
    exit 1
fi
