# shellcheck shell=bash
# The service `images`: what the tests run, made from demo/site.rs and pushed to the registries, so
# that pulls are real. After the services `docker` and `registry`.
#
# In the open registry: site:1, site:2, site:3; site:unhealthy, whose health check fails within two
# seconds; site:nocheck, version 1 without a health check, for measurements with many containers;
# site:job, which ends at once with exit code 1.
# In the private one: site:1, site:2. In none, only in the dockerd `main`: nebula-local/site:1.
#
# Exports:
#   NEBULA_TEST_SITE           127.0.0.1:PORT/site, without a tag
#   NEBULA_TEST_PRIVATE_SITE   the same in the private registry
#   NEBULA_TEST_LOCAL_SITE     nebula-local/site:1

images_install() {
    need_rust
    need sha256sum coreutils
    # Outside the namespace, so that it lands in the cache and is compiled once.
    site_folder=$(site_binary)
}

images_up() {
    [[ -n ${NEBULA_TEST_REGISTRY:-} && -n ${NEBULA_TEST_DOCKER_HOST:-} ]] ||
        die "the service \`images\` needs others before it" "with-services docker registry images -- COMMAND"
    export NEBULA_TEST_SITE=$NEBULA_TEST_REGISTRY/site NEBULA_TEST_PRIVATE_SITE=$NEBULA_TEST_PRIVATE_REGISTRY/site
    export NEBULA_TEST_LOCAL_SITE=nebula-local/site:1
    local version tag pushed=()
    site_folder=$(site_binary)
    for version in 1 2 3; do
        docker_build --file "$ROOT/demo/Dockerfile" --build-arg "VERSION=$version" --tag "nebula-test/site:$version" "$site_folder"
    done
    local empty=$NEBULA_RUN/images/empty
    mkdir -p "$empty"
    printf '%s\n' 'FROM nebula-test/site:1' 'ENV FAIL_HEALTH=1' \
        'HEALTHCHECK --interval=1s --timeout=1s --retries=1 CMD ["/site", "health"]' >"$empty/unhealthy"
    printf '%s\n' 'FROM nebula-test/site:1' 'HEALTHCHECK NONE' >"$empty/nocheck"
    # Asks itself for its health, which nobody serves, and ends with 1.
    printf '%s\n' 'FROM nebula-test/site:1' 'HEALTHCHECK NONE' 'ENTRYPOINT ["/site", "health"]' 'CMD []' >"$empty/job"
    for tag in unhealthy nocheck job; do
        docker_build --file "$empty/$tag" --tag "nebula-test/site:$tag" "$empty"
    done

    # Logging in would leave the password in the client's folder; DOCKER_CONFIG of this one line is
    # thrown away, so that what tests do without a password is refused.
    local login=$NEBULA_RUN/images/login
    mkdir -p "$login"
    printf '{"auths": {"%s": {"auth": "%s"}}}\n' "$NEBULA_TEST_PRIVATE_REGISTRY" \
        "$(printf '%s:%s' "$NEBULA_TEST_REGISTRY_USER" "$NEBULA_TEST_REGISTRY_PASSWORD" | base64 -w 0)" >"$login/config.json"
    for tag in "$NEBULA_TEST_SITE":{1,2,3,unhealthy,nocheck,job} "$NEBULA_TEST_PRIVATE_SITE":{1,2}; do
        docker tag "nebula-test/site:${tag##*:}" "$tag"
        DOCKER_CONFIG=$login docker push --quiet "$tag" >/dev/null || die "cannot push $tag"
        pushed+=("$tag")
    done
    rm -r "$login"
    # With the tags go the layers, so that the first pull has something to fetch.
    docker rmi "${pushed[@]}" nebula-test/site:{1,2,3,unhealthy,nocheck,job} >/dev/null

    # Another time of change makes another layer: this image shares none with those above.
    local own=$NEBULA_RUN/images/own
    mkdir -p "$own"
    cp "$site_folder/site" "$own/site"
    touch -d 2000-01-01 "$own/site"
    docker_build --file "$ROOT/demo/Dockerfile" --build-arg VERSION=1 --tag "$NEBULA_TEST_LOCAL_SITE" "$own"
    rm -r "$NEBULA_RUN/images"
}

# The images are gone with the dockerd and the registries.
images_down() { :; }
