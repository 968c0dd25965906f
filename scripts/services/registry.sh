# shellcheck shell=bash
# The service `registry`: two image registries on loopback, whose ports Docker accepts without TLS.
#
# Exports:
#   NEBULA_TEST_REGISTRY                                open to all
#   NEBULA_TEST_PRIVATE_REGISTRY                        wants the next two
#   NEBULA_TEST_REGISTRY_USER, NEBULA_TEST_REGISTRY_PASSWORD

registry_install() {
    has docker-registry || {
        need docker-registry docker-registry
        # The Debian package also starts one for the whole network on port 5000: nobody asked for it.
        ! has systemctl || systemctl disable --now docker-registry >/dev/null 2>&1 || true
    }
}

registry_up() {
    export NEBULA_TEST_REGISTRY=127.0.0.1:5000 NEBULA_TEST_PRIVATE_REGISTRY=127.0.0.1:5001
    export NEBULA_TEST_REGISTRY_USER=nebula-test
    # In base64 this password always holds `/` and `+`, which a client that mixes up the two
    # alphabets of base64 gets wrong.
    export NEBULA_TEST_REGISTRY_PASSWORD='nebula-test???>>>'
    mkdir -p "$NEBULA_RUN/registry"
    # Its bcrypt hash, made beforehand, for the programs that make one need further packages. The
    # low cost (5) is on purpose: each layer is a request of its own.
    # The second is the book's user, with the password that it prints: `change-me`.
    # shellcheck disable=SC2016
    printf '%s:%s\n' "$NEBULA_TEST_REGISTRY_USER" '$2b$05$abcdefghijklmnopqrstuuO6uI/rTzKRjzjpEmAxcJChxDurDUMXO' \
        devices '$2b$05$z28Dr.UpwQwpD49rmBaTIuhcSIzQE3WGO1fPn02S3gmVwJaeDdsJy' \
        >"$NEBULA_RUN/registry/htpasswd"
    registry_start open "$NEBULA_TEST_REGISTRY" ''
    registry_start private "$NEBULA_TEST_PRIVATE_REGISTRY" "auth: {htpasswd: {realm: nebula-test, path: $NEBULA_RUN/registry/htpasswd}}"
    registry_wait open "$NEBULA_TEST_REGISTRY"
    registry_wait private "$NEBULA_TEST_PRIVATE_REGISTRY"
}

# registry_start NAME ADDRESS MORE
registry_start() {
    local folder=$NEBULA_RUN/registry/$1
    mkdir -p "$folder"
    cat >"$folder/config.yml" <<YAML
version: 0.1
log: {level: warn, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: $folder/data}, delete: {enabled: true}, cache: {blobdescriptor: inmemory}}
http: {addr: "$2", secret: nebula-test}
$3
YAML
    OTEL_TRACES_EXPORTER=none setsid docker-registry serve "$folder/config.yml" </dev/null >"$folder/log" 2>&1 &
    echo $! >"$folder/pid"
}

# registry_wait NAME ADDRESS: any HTTP answer will do, 401 is one.
registry_wait() {
    local folder=$NEBULA_RUN/registry/$1 deadline=$((SECONDS + 30)) line
    while true; do
        # shellcheck disable=SC2016
        line=$(timeout 2 bash -c 'exec 3<>"/dev/tcp/${1/://}" && printf "GET /v2/ HTTP/1.0\r\n\r\n" >&3 && head -n 1 <&3' _ "$2" 2>/dev/null) || true
        [[ $line != HTTP/* ]] || return 0
        if ((SECONDS > deadline)) || ! kill -0 "$(cat "$folder/pid")" 2>/dev/null; then
            tail -n 20 "$folder/log" >&2
            die "the registry \`$1\` did not start; above is the end of its log"
        fi
        sleep 0.05
    done
}

registry_down() {
    local file
    for file in "$NEBULA_RUN"/registry/*/pid; do
        kill -TERM "$(cat "$file")" 2>/dev/null || true
    done
}
