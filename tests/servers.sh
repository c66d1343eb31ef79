#!/usr/bin/env bash
# Real servers for the tests that need them: Postgres and Redis, on free ports of the loopback interface, in a temporary
# folder. They are stopped, and the folder is removed, whatever happens.
#
#   tests/servers.sh cargo test --all-features     runs a command while they are up
#
# The command finds them by MONETA_POSTGRES_URL and MONETA_REDIS_URL, and crashes Postgres, which is there again afterwards, by
# the program MONETA_POSTGRES_RESTART.

# with_servers COMMAND [ARGUMENT…]
with_servers() (
    set -euo pipefail
    need python3 python3
    need redis-server redis-server
    postgres_bin="$(postgres_bin)" || { install postgresql && postgres_bin="$(postgres_bin)"; }
    folder="$(mktemp -d)"
    redis=''
    trap stop_servers EXIT
    trap 'exit 143' INT TERM
    start_postgres
    start_redis
    "$@"
)

# Where the server's programs are: distributions keep them out of the path.
postgres_bin() {
    local found
    found="$(command -v initdb || printf '%s\n' /usr/lib/postgresql/*/bin/initdb /usr/libexec/postgresql*/initdb | sort -V | tail -n 1)"
    [[ -x "$found" ]] && dirname "$(readlink -f "$found")"
}

# Postgres refuses to run as root.
as_postgres() {
    if ((EUID == 0)); then
        (cd "$folder" && runuser -u postgres -- "$@")
    else
        "$@"
    fi
}

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

start_postgres() {
    local port data="$folder/postgres"
    port="$(free_port)"
    mkdir "$data"
    if ((EUID == 0)); then
        chown postgres "$folder" "$data"
    fi
    as_postgres "$postgres_bin/initdb" -D "$data" -U moneta -A trust -E UTF8 --locale=C >"$folder/initdb.log"
    as_postgres "$postgres_bin/pg_ctl" -D "$data" -l "$data/log" -w -s \
        -o "-p $port -c listen_addresses=127.0.0.1 -c unix_socket_directories=''" start
    export MONETA_POSTGRES_URL="postgres://moneta@127.0.0.1:$port/postgres"
    restart_by_script >"$folder/restart-postgres"
    chmod 755 "$folder/restart-postgres"
    export MONETA_POSTGRES_RESTART="$folder/restart-postgres"
}

# A crash, and the start after it, for tests that do not know where the server is.
restart_by_script() {
    printf '#!/usr/bin/env bash\nset -euo pipefail\n'
    declare -f as_postgres
    printf 'folder=%q\n' "$folder"
    printf 'as_postgres %q -D %q -l %q -w -s -m immediate restart\n' \
        "$postgres_bin/pg_ctl" "$folder/postgres" "$folder/postgres/log"
}

start_redis() {
    local port tries
    port="$(free_port)"
    redis-server --port "$port" --bind 127.0.0.1 --dir "$folder" --save '' >"$folder/redis.log" &
    redis=$!
    for tries in {1..100}; do
        if [[ "$(redis-cli -p "$port" ping 2>/dev/null)" == PONG ]]; then
            export MONETA_REDIS_URL="redis://127.0.0.1:$port"
            return
        fi
        sleep 0.1
    done
    printf 'redis-server did not start:\n' >&2
    cat "$folder/redis.log" >&2
    return 1
}

stop_servers() {
    if [[ -e "$folder/postgres/postmaster.pid" ]]; then
        as_postgres "$postgres_bin/pg_ctl" -D "$folder/postgres" -m immediate -s stop || true
    fi
    if [[ -n "$redis" ]]; then
        kill "$redis" 2>/dev/null || true
        wait "$redis" 2>/dev/null || true
    fi
    rm -rf "$folder"
}

if [[ "${BASH_SOURCE[0]}" == "$0" ]]; then
    source "$(dirname "${BASH_SOURCE[0]}")/need.sh"
    with_servers "$@"
fi
