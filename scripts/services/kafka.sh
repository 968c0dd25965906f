# shellcheck shell=bash
# The service `kafka`: Apache Kafka brokers of our own. How they are started, killed and stopped is in
# the program `kafka` beside this file, for tests do so as well.
#
# Exports:
#   NEBULA_TEST_KAFKA          `host:port` of a broker, named `main`, for all tests that break nothing;
#                              each with topics and consumer groups of its own
#   NEBULA_TEST_KAFKA_BROKER   the program `kafka`

kafka_version=3.9.1
# Of the list that `sha256sum` makes of all files, in the order of their names.
kafka_sha256=4a7187d76d86960c8cc101e20d6701170ab2b03708681e112fea247f3bd8e3a1

kafka_install() {
    need java openjdk-17-jre-headless
    need flock util-linux
    local folder build log
    folder=$(kafka_folder)
    [[ ! -e $folder/kafka_2.13-$kafka_version.jar ]] || return 0
    need mvn maven
    say "fetching Apache Kafka $kafka_version"
    mkdir -p "$CACHE"
    build=$(mktemp -d "$CACHE/building.XXXXXX")
    log=$(mktemp)
    kafka_pom >"$build/pom.xml"
    # In a repository of its own, which goes again: what Maven itself is made of is ten times as much
    # as Kafka, and the user's own repository is not ours to fill.
    { mvn --quiet --batch-mode --strict-checksums --file "$build/pom.xml" -Dmaven.repo.local="$build/repository" \
        dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$build/kafka" &&
        kafka_check "$build/kafka"; } </dev/null >"$log" 2>&1 ||
        { cat "$log" >&2; rm -rf "$log" "$build"; die "cannot fetch Apache Kafka $kafka_version" "is this machine on a network?"; }
    # Another run may have been quicker; what it fetched is the same.
    mv -T "$build/kafka" "$folder" 2>/dev/null || true
    rm -rf "$log" "$build"
    give_back "$CACHE"
}

# Kafka has no package but this: what runs it depends on all that it needs. A log of its own is needed,
# or it says nothing.
kafka_pom() {
    cat <<EOF
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>nebula</groupId>
  <artifactId>kafka</artifactId>
  <version>1</version>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>$kafka_version</version></dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-reload4j</artifactId><version>1.7.36</version></dependency>
  </dependencies>
</project>
EOF
}

# kafka_check FOLDER: another package of these names and versions is refused.
kafka_check() {
    local found
    found=$(cd "$1" && sha256sum -- *.jar | LC_ALL=C sort -k 2 | sha256sum | cut -d ' ' -f 1)
    [[ $found == "$kafka_sha256" ]] || { echo "what was fetched has the hash $found, and not $kafka_sha256"; return 1; }
}

# Other files are another folder.
kafka_folder() { printf '%s\n' "$CACHE/kafka-${kafka_sha256:0:16}"; }

kafka_up() {
    export NEBULA_TEST_KAFKA_BROKER=$ROOT/scripts/services/kafka
    NEBULA_TEST_KAFKA=$("$NEBULA_TEST_KAFKA_BROKER" start main)
    export NEBULA_TEST_KAFKA
}

kafka_down() {
    local folder
    for folder in "$NEBULA_RUN"/kafka/*/; do
        "$NEBULA_TEST_KAFKA_BROKER" stop "$(basename "$folder")"
    done
}
