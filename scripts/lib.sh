# shellcheck shell=bash
# What the scripts share. To be sourced, after `set -euo pipefail`.
#
# Everything the scripts say goes to stderr: stdout belongs to the commands they run.

# A user's PATH on Debian lacks the folders of dockerd and iptables.
PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
CACHE=${NEBULA_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/nebula-dev}

if [[ -t 2 ]]; then
    bold=$'\e[1m' dim=$'\e[2m' red=$'\e[31m' plain=$'\e[0m'
else
    bold='' dim='' red='' plain=''
fi

say() { printf '%s\n' "${bold}$*${plain}" >&2; }
note() { printf '%s\n' "${dim}$*${plain}" >&2; }

# die WHAT [WHAT TO DO]
die() {
    printf '%s\n' "${red}error:${plain} $1" >&2
    [[ $# -lt 2 ]] || printf '%s\n' "${bold}hint:${plain}  $2" >&2
    exit 1
}

has() { command -v "$1" >/dev/null 2>&1; }

need_linux() {
    [[ $(uname -s) == Linux ]] || die "this needs Linux, and here is $(uname -s)" \
        "run it in a Linux machine or virtual machine, best Debian 12"
}

# Runs a command as root: directly, or through sudo.
as_root() {
    if [[ $EUID -eq 0 ]]; then
        "$@"
    else
        has sudo || die "this needs root, and sudo is not installed" "run it as root"
        sudo "$@"
    fi
}

# need_root SCRIPT [ARGUMENT...]: goes on when root, else runs the script again through sudo with
# the caller's environment. HOME and PATH are passed by hand, for sudo replaces both, and the
# caller's cargo, rustup and cache must be found. Should sudo itself be killed, the script gets a
# TERM and cleans up.
need_root() {
    [[ $EUID -ne 0 ]] || return 0
    has sudo || die "this needs root, and sudo is not installed" "run it as root"
    exec sudo --preserve-env env "HOME=$HOME" "PATH=$PATH" setpriv --pdeathsig TERM bash "$@"
}

# Gives a folder back to the user whom sudo stands for, so that later runs without root can write.
give_back() {
    [[ -z ${SUDO_UID:-} || $EUID -ne 0 ]] || chown -R "$SUDO_UID:${SUDO_GID:-$SUDO_UID}" "$@"
}

# need COMMAND PACKAGE...: installs the Debian packages when the command is missing.
need() {
    has "$1" || install_packages "$1" "${@:2}"
    hash -r
    has "$1" || die "\`$1\` is still missing after installing ${*:2}"
}

# need_file FILE PACKAGE...: the same for what is not a command.
need_file() {
    [[ -e $1 ]] || install_packages "$1" "${@:2}"
    [[ -e $1 ]] || die "\`$1\` is still missing after installing ${*:2}"
}

apt_updated=
install_packages() {
    local missing=$1 log
    shift
    has apt-get || die "\`$missing\` is missing, and this system has no apt to install it with" \
        "install what Debian calls: $*"
    say "installing $* (for $missing)"
    log=$(mktemp)
    # Once a run: package lists on a fresh machine are empty, and stale ones name files long gone.
    if [[ -z $apt_updated ]]; then
        as_root apt-get update -qq >"$log" 2>&1 || { cat "$log" >&2; rm -f "$log"; die "apt-get update failed" "is this machine on a network?"; }
        apt_updated=1
    fi
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" </dev/null >"$log" 2>&1 ||
        { cat "$log" >&2; rm -f "$log"; die "cannot install $*"; }
    rm -f "$log"
}

# The Rust toolchain is the one thing we do not install: which one, and where, is the user's choice.
need_rust() {
    { has cargo && has rustc; } || die "Rust is missing" "install it with rustup, then open a new shell"
    # Some crates bring C: SQLite and ring.
    need cc gcc libc6-dev
    need_file /usr/include/stdio.h libc6-dev
}

# need_rust_component COMMAND COMPONENT
need_rust_component() {
    "$1" --version >/dev/null 2>&1 || die "\`$1\` is missing" "type: rustup component add $2"
}

# cargo_tool NAME VERSION: compiles a tool of cargo's once, and prints where it is.
cargo_tool() {
    local folder=$CACHE/$1-$2
    if [[ ! -x $folder/bin/$1 ]]; then
        say "compiling $1 $2, once"
        # Without optimisation: it is compiled for longer than it will ever run.
        cargo install --quiet --locked --debug --root "$folder" --version "$2" "$1" >&2 ||
            die "cannot compile $1 $2" "is this machine on a network?"
        give_back "$CACHE"
    fi
    printf '%s\n' "$folder/bin/$1"
}

# site_binary: compiles demo/site.rs once a content, compiler and set of flags; prints the folder
# that holds the binary `site`, ready to be given to `docker build`.
site_binary() {
    local flags=(--edition 2024 -C opt-level=z -C panic=abort -C lto=fat -C codegen-units=1
        -C strip=symbols -C target-feature=+crt-static -C relocation-model=static)
    local key folder
    key=$({ rustc -vV; printf '%s\n' "${flags[@]}"; cat "$ROOT/demo/site.rs"; } | sha256sum | cut -c1-16)
    folder=$CACHE/site-$key
    if [[ ! -x $folder/site ]]; then
        note "compiling demo/site.rs"
        mkdir -p "$CACHE"
        local build
        build=$(mktemp -d "$CACHE/building.XXXXXX")
        chmod 755 "$build"
        rustc "${flags[@]}" -o "$build/site" "$ROOT/demo/site.rs" >&2 || { rm -rf "$build"; die "demo/site.rs does not compile"; }
        # Another run may have been quicker; its binary is the same.
        mv -T "$build" "$folder" 2>/dev/null || rm -rf "$build"
        give_back "$CACHE"
    fi
    printf '%s\n' "$folder"
}

# copy_program PROGRAM FILE ROOT: puts a program at FILE below ROOT, with its libraries.
copy_program() {
    mkdir -p "$3${2%/*}"
    cp -L "$1" "$3$2"
    copy_libraries "$1" "$3"
}

# copy_libraries PROGRAM ROOT: puts what a program or library is linked with below ROOT: each at the path
# where the loader looks, whatever links lead there.
copy_libraries() {
    local library
    # One that is static has none, and ldd says so as a failure.
    { ldd "$1" 2>/dev/null || true; } | { grep -o '/[^ ]*' || true; } | while read -r library; do
        [[ ! -e $2$library ]] || continue
        mkdir -p "$2${library%/*}"
        cp -L "$library" "$2$library"
    done
}

# root_folder BINARY FOLDER: makes FOLDER the root folder of an image of this binary; see Dockerfile.
root_folder() {
    local folder=$2
    rm -rf "$folder"
    mkdir -p "$folder"/{etc,tmp,var/lib/nebula,var/lib/nebula-worker}
    chmod 755 "$folder"
    copy_program "$1" /usr/bin/nebula "$folder"
    # Any user may be given with `docker run --user`, and a new volume begins with these rights.
    chmod 1777 "$folder/tmp" "$folder"/var/lib/nebula*
    # The C library's name resolution reads it; without it, names in /etc/hosts (`--add-host`) are lost.
    echo 'hosts: files dns' >"$folder/etc/nsswitch.conf"
}

# docker_build ARGUMENT...: `docker build`, quiet unless it fails. A client without buildx falls
# back to the old builder and complains on each build; asking for the old one says it is fine.
docker_build() {
    local log
    log=$(mktemp)
    docker buildx version >/dev/null 2>&1 || local -x DOCKER_BUILDKIT=0
    docker build "$@" >"$log" 2>&1 || { cat "$log" >&2; rm -f "$log"; die "docker build failed: $*"; }
    rm -f "$log"
}

# Removes what a private dockerd's containers left in the machine's cgroups: empty groups, which no
# namespace takes along. Both cgroup versions; retried, for the kernel empties them a moment late.
sweep_cgroups() {
    local name=$1 left
    for _ in {1..50}; do
        left=
        for group in /sys/fs/cgroup/"$name" /sys/fs/cgroup/*/"$name"; do
            [[ -d $group ]] || continue
            find "$group" -depth -type d -exec rmdir {} + 2>/dev/null || true
            [[ ! -d $group ]] || left=1
        done
        [[ -n $left ]] || return 0
        sleep 0.1
    done
    return 1
}

# process_of FILE PROGRAM: the process id in FILE, if it is that of a running PROGRAM. A zombie has
# no executable any more.
process_of() {
    local pid
    pid=$(cat "$1" 2>/dev/null) && [[ $(readlink "/proc/$pid/exe" 2>/dev/null) == */"$2" ]] && echo "$pid"
}

# A process whose first thread is a zombie has no executable, and may hold its ports for a moment
# yet; one that is gone from /proc holds nothing.
wait_until_gone() {
    for _ in {1..100}; do
        [[ -d /proc/$1 ]] || return 0
        sleep 0.05
    done
    die "process $1 survived a kill"
}

# server_number FOLDER: the number of the server whose folder this is, its own among the servers
# beside it. It is given at the first call, and never again in this run.
server_number() {
    local beside=${1%/*} count
    if [[ ! -f $1/number ]]; then
        (
            flock 9
            count=$(($(cat "$beside/.count" 2>/dev/null || echo 0) + 1))
            ((count < 200)) || die "too many servers of one kind in one run"
            echo "$count" >"$beside/.count"
            echo "$count" >"$1/number"
        ) 9>"$beside/.count.lock"
    fi
    cat "$1/number"
}

# without_hashes: names of functions as the compiler writes them, a line each, without what stands for
# the version, the features and the compiler of a crate, and references back, which count its letters.
without_hashes() {
    LC_ALL=C sed -E 's/Cs[0-9A-Za-z]+_/C/g; s/B[0-9A-Za-z]*_/B/g; s/17h[0-9a-f]{16}E/E/'
}
