# shellcheck shell=bash
# The service `docker`: dockerds of our own. How one is started and stopped is in the program
# `dockerd` beside this file, for tests start and stop them as well.
#
# Exports:
#   NEBULA_TEST_DOCKER_HOST, DOCKER_HOST   the socket of the dockerd named `main`
#   NEBULA_TEST_DOCKERD_PIDFILE            its process id; a test may kill it with -9 ...
#   NEBULA_TEST_DOCKERD_START [NAME [SETTING...]]
#                                          ... and start it again. Another NAME gives an independent
#                                          dockerd, SETTINGs are dockerd's own. Waits until it
#                                          answers, prints its DOCKER_HOST.
#   NEBULA_TEST_DOCKERD_STOP [NAME]        kills it and its containers, and removes its data
#   DOCKER_CONFIG                          a folder of our own, so that no login of a test reaches
#                                          the user's

docker_install() {
    need dockerd docker.io
    need docker docker.io
    need iptables iptables
    # Where the kernel enforces AppArmor, dockerd needs the program that loads its profile.
    if [[ $(cat /sys/module/apparmor/parameters/enabled 2>/dev/null) == Y ]]; then
        need apparmor_parser apparmor
    fi
    # dockerd would make it anyway; `docker_up` needs it to hide what is in it.
    mkdir -p /etc/docker
}

docker_up() {
    # The machine's daemon.json and certificates are not ours, and dockerd writes a key there.
    mount -t tmpfs -o mode=755 nebula /etc/docker
    # containerd makes an (empty) folder there.
    mkdir -p "$NEBULA_RUN/opt/upper" "$NEBULA_RUN/opt/work"
    [[ ! -d /opt ]] || mount -t overlay -o "lowerdir=/opt,upperdir=$NEBULA_RUN/opt/upper,workdir=$NEBULA_RUN/opt/work" nebula /opt || true
    unset DOCKER_CONTEXT DOCKER_TLS DOCKER_TLS_VERIFY DOCKER_CERT_PATH
    export DOCKER_CONFIG=$NEBULA_RUN/docker-config
    mkdir -p "$DOCKER_CONFIG"
    local action
    for action in start stop; do
        printf '#!/bin/sh\nexec %q %s "$@"\n' "$ROOT/scripts/services/dockerd" "$action" >"$NEBULA_RUN/dockerd-$action"
        chmod 755 "$NEBULA_RUN/dockerd-$action"
    done
    export NEBULA_TEST_DOCKERD_START=$NEBULA_RUN/dockerd-start
    export NEBULA_TEST_DOCKERD_STOP=$NEBULA_RUN/dockerd-stop
    export NEBULA_TEST_DOCKERD_PIDFILE=$NEBULA_RUN/docker/main/pid
    NEBULA_TEST_DOCKER_HOST=$("$NEBULA_TEST_DOCKERD_START")
    export NEBULA_TEST_DOCKER_HOST DOCKER_HOST=$NEBULA_TEST_DOCKER_HOST
}

docker_down() {
    local folder
    for folder in "$NEBULA_RUN"/docker/*/; do
        "$NEBULA_TEST_DOCKERD_STOP" "$(basename "$folder")"
    done
}
