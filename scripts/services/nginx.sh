# shellcheck shell=bash
# The service `nginx`: the program of Debian's package, for `make bench` to compare with. It starts
# nothing: whoever uses it brings the configuration and every folder that it names.
#
# Nothing is installed, for the package would start a server on the machine's port 80: the program is
# taken out of it. Where there is an nginx already, that one is used.
#
# Exports:
#   NEBULA_TEST_NGINX   the program

nginx_install() {
    local folder build log
    ! has nginx || return 0
    folder=$(nginx_folder)
    [[ ! -x $folder/usr/sbin/nginx ]] || return 0
    say "fetching nginx"
    mkdir -p "$CACHE"
    build=$(mktemp -d "$CACHE/building.XXXXXX")
    log=$(mktemp)
    # Root, and with new lists of packages, for they may be missing or name what is gone.
    { as_root apt-get update -qq && mkdir "$build/package" "$build/nginx" &&
        (cd "$build/package" && apt-get download -qq nginx) && dpkg-deb -x "$build"/package/nginx_*.deb "$build/nginx"; } >"$log" 2>&1 ||
        { cat "$log" >&2; rm -rf "$log" "$build"; die "cannot fetch nginx" "is this a Debian on a network?"; }
    ! ldd "$build/nginx/usr/sbin/nginx" | grep -q 'not found' || install_packages nginx libcrypt1 libpcre2-8-0 libssl3 zlib1g
    # Another run may have been quicker; what it fetched is the same.
    mv -T "$build/nginx" "$folder" 2>/dev/null || true
    rm -rf "$log" "$build"
    give_back "$CACHE"
}

nginx_folder() { printf '%s\n' "$CACHE/nginx"; }

nginx_up() {
    NEBULA_TEST_NGINX=$(command -v nginx || printf '%s\n' "$(nginx_folder)/usr/sbin/nginx")
    export NEBULA_TEST_NGINX
}

nginx_down() { :; }
