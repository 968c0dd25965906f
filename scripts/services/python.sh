# shellcheck shell=bash
# The service `python`: an environment with the original's Python client and a fuzzer, for the tests
# of tests/clients, and with the clients of MongoDB and Kafka, for the service `mongo` and tests/reporter. It starts nothing.
#
# Exports:
#   NEBULA_TEST_PYTHON   the python that has what python-requirements.txt lists, and nothing else

python_requirements=$ROOT/scripts/services/python-requirements.txt

python_install() {
    need python3 python3
    need sha256sum coreutils
    need flock util-linux
    # Debian's python3 comes without the module that puts pip into a new environment.
    python3 -c 'import ensurepip' 2>/dev/null || install_packages "python3 -m venv" python3-venv
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        die "$(python3 --version) is too old for the fuzzer" "put a python3 of 3.11 or later first in PATH"
    local folder log lock
    folder=$(python_folder)
    [[ ! -e $folder/complete ]] || return 0
    mkdir -p "$CACHE"
    # An environment names its own folder in its files, so it cannot be made elsewhere and moved
    # here. Two runs take turns instead, and the file `complete` says that no run died half-way.
    exec {lock}>"$folder.lock"
    flock "$lock"
    if [[ ! -e $folder/complete ]]; then
        say "fetching the Python clients and the fuzzer"
        log=$(mktemp)
        # --only-binary: nothing is compiled here, and no package's own program runs.
        { rm -rf "$folder" && python3 -m venv "$folder" &&
            "$folder/bin/python" -m pip install --disable-pip-version-check --no-deps --only-binary :all: \
                --requirement "$python_requirements" && "$folder/bin/python" -m pip check; } </dev/null >"$log" 2>&1 ||
            { cat "$log" >&2; rm -f "$log"; die "cannot install what $python_requirements lists" "is this machine on a network?"; }
        rm -f "$log"
        touch "$folder/complete"
    fi
    exec {lock}>&-
    give_back "$CACHE"
}

# Another list, or another Python, is another environment.
python_folder() {
    local key
    key=$({ python3 -c 'import sys; print(sys.version, sys.base_prefix)'; cat "$python_requirements"; } | sha256sum | cut -c1-16)
    printf '%s\n' "$CACHE/python-$key"
}

python_up() {
    NEBULA_TEST_PYTHON=$(python_folder)/bin/python
    export NEBULA_TEST_PYTHON
}

python_down() { :; }
