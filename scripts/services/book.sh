# shellcheck shell=bash
# The service `book`: a machine as the book's reader has it, for the runs of its pages (tests/docs).
# The last of the services.
#
# - `nebula` is in PATH; Docker answers at its usual socket, and has an image `busybox`.
# - The names in NEBULA_BOOK_HOSTS lead to this machine, or as NAME=ADDRESS to that address.
# - What a page writes to /etc, /usr/local, /var/lib or its home is in memory, and gone with the run.
#
# Exports:
#   NEBULA_BOOK_FOLDER   holds `home`, and `commands`, where the runner keeps what it types

book_install() {
    need curl curl
    need openssl openssl
    need jq jq
    need haproxy haproxy
    need iptables iptables
    [[ -x /bin/busybox && -f /usr/share/doc/busybox-static/copyright ]] || need_file /bin/busybox busybox-static
}

book_up() {
    export NEBULA_BOOK_FOLDER=$NEBULA_RUN/book
    mkdir -p "$NEBULA_BOOK_FOLDER"/{home,commands,bin}
    ln -s "$NEBULA_BOOK_BINARY" "$NEBULA_BOOK_FOLDER/bin/nebula"
    local folder name
    for folder in /etc /usr/local /var/lib; do
        mkdir -p "$NEBULA_BOOK_FOLDER/upper$folder" "$NEBULA_BOOK_FOLDER/work$folder"
        mount -t overlay -o "lowerdir=$folder,upperdir=$NEBULA_BOOK_FOLDER/upper$folder,workdir=$NEBULA_BOOK_FOLDER/work$folder" nebula "$folder"
    done
    for name in ${NEBULA_BOOK_HOSTS:-}; do
        # NAME, or NAME=ADDRESS.
        [[ $name == *=* ]] || name+="=127.0.0.1"
        echo "${name#*=} ${name%%=*}" >>/etc/hosts
    done
    # Kafka at its usual port; that of the service is its own.
    [[ -z ${NEBULA_TEST_KAFKA:-} ]] ||
        iptables -w -t nat -A OUTPUT -d 127.0.0.1 -p tcp --dport 9092 -j REDIRECT --to-ports "${NEBULA_TEST_KAFKA##*:}"
    if [[ -n ${NEBULA_TEST_DOCKER_HOST:-} ]]; then
        ln -sf "${NEBULA_TEST_DOCKER_HOST#unix://}" /run/docker.sock
        book_busybox
    fi
    # What a login shell of this reader has, and nothing of whoever runs the tests.
    export HOME=$NEBULA_BOOK_FOLDER/home LANG=C.UTF-8 TERM=dumb USER=root
    export PATH=$NEBULA_BOOK_FOLDER/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
    unset DOCKER_HOST XDG_CONFIG_HOME XDG_CACHE_HOME XDG_DATA_HOME
    for name in $(compgen -e NEBULA_); do
        [[ $name == NEBULA_RUN* || $name == NEBULA_BOOK_FOLDER || $name == NEBULA_TEST_* ]] || unset "$name"
    done
}

# What `FROM busybox` pulls where there is a network: the program, under all of its names.
book_busybox() {
    local root=$NEBULA_BOOK_FOLDER/busybox
    mkdir -p "$root"/{bin,tmp,etc}
    cp -L "$(command -v busybox)" "$root/bin/busybox"
    "$root/bin/busybox" --list | while read -r name; do
        [[ $name == busybox ]] || ln -s busybox "$root/bin/$name"
    done
    echo 'root:x:0:0:root:/root:/bin/sh' >"$root/etc/passwd"
    tar -C "$root" -c . | docker import --change 'CMD ["sh"]' - busybox:latest >/dev/null
    rm -r "$root"
}

book_down() { :; }
