# shellcheck shell=bash
# The service `standins`: images under the names that `examples` use, made when a test asks for them, and
# what runs those examples. After the service `docker`; the images of MongoDB and Kafka are made of what the
# services `mongo` and `kafka` have fetched.
#
# Exports:
#   NEBULA_TEST_STANDINS   the program `standins`, which prints the name of each image that it was asked for
#   NEBULA_TEST_COMPOSE    the program that runs compose files

standins_install() {
    need busybox busybox-static
    need docker-compose docker-compose
    need flock util-linux
    has haproxy || {
        need haproxy haproxy
        # See scripts/services/images.sh.
        ! has systemctl || systemctl disable --now haproxy >/dev/null 2>&1 || true
    }
}

standins_up() {
    export NEBULA_TEST_STANDINS=$ROOT/scripts/services/standins
    NEBULA_TEST_COMPOSE=$(command -v docker-compose)
    export NEBULA_TEST_COMPOSE
}

# The images are gone with the dockerd.
standins_down() { :; }
