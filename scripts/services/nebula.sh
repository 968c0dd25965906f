# shellcheck shell=bash
# The service `nebula`: the image of this checkout's own binary, as tests are compiled (with symbols
# taken away), in the dockerd `main`. After the service `docker`.
#
# Exports:
#   NEBULA_TEST_IMAGE   nebula:latest

nebula_install() {
    need_rust
    need strip binutils
    # Not where the book's tests bring the one that they were compiled with.
    [[ -n ${NEBULA_BOOK_BINARY:-} ]] || cargo build --bin nebula
}

nebula_up() {
    [[ -n ${NEBULA_TEST_DOCKER_HOST:-} ]] ||
        die "the service \`nebula\` needs another before it" "with-services docker nebula -- COMMAND"
    export NEBULA_TEST_IMAGE=nebula:latest
    "$ROOT/scripts/image" --binary "${NEBULA_BOOK_BINARY:-$ROOT/target/debug/nebula}" --no-check
}

# The image is gone with the dockerd.
nebula_down() { :; }
