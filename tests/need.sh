# Sourced by the scripts here: installs what a check needs and the machine lacks.

as_root() {
    if ((EUID == 0)); then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        printf 'this needs root, and there is no sudo: %s\n' "$*" >&2
        return 1
    fi
}

# install PACKAGE, with whichever package manager there is.
install() {
    local package="$1"
    if command -v apt-get >/dev/null; then
        as_root apt-get update -q
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y "$package"
    elif command -v dnf >/dev/null; then
        as_root dnf install -q -y "$package"
    elif command -v brew >/dev/null; then
        brew install "$package"
    fi
}

# need COMMAND PACKAGE: installs the package that brings the command, unless it is there.
need() {
    local command="$1" package="$2"
    command -v "$command" >/dev/null && return
    printf '%s is missing, installing %s\n' "$command" "$package"
    install "$package"
    if ! command -v "$command" >/dev/null; then
        printf '%s is needed, and no package manager here (apt-get, dnf, brew) could bring it: install it by hand\n' \
            "$command" >&2
        return 1
    fi
}
