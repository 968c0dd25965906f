# shellcheck shell=bash
# The service `images`: what the tests run, made from demo/site.rs and pushed to the registries, so
# that pulls are real. After the services `docker` and `registry`.
#
# In the open registry: site:1, site:2, site:3; site:watched1 and site:watched2, which are asked for
# their health each second instead of each fifth one; site:nocheck and site:nocheck2, versions 1 and 2
# without a health check, for measurements with many containers; site:late, version 2 that is healthy
# after two seconds and a half; site:unhealthy, version 2 whose health check fails within two seconds;
# site:job, which ends at once with exit code 1; site:nocommand, which names nothing to run; and
# haproxy:1, a load balancer over the app `site` (see haproxy.cfg), on port 8080.
# In the private one: site:1, site:2. In none, only in the dockerd `main`: nebula-local/site:1.
#
# Exports:
#   NEBULA_TEST_SITE           127.0.0.1:PORT/site, without a tag
#   NEBULA_TEST_PRIVATE_SITE   the same in the private registry
#   NEBULA_TEST_HAPROXY        127.0.0.1:PORT/haproxy:1
#   NEBULA_TEST_LOCAL_SITE     nebula-local/site:1

images_install() {
    need_rust
    need sha256sum coreutils
    has haproxy || {
        need haproxy haproxy
        # The Debian package also starts one, without a backend: nobody asked for it.
        ! has systemctl || systemctl disable --now haproxy >/dev/null 2>&1 || true
    }
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
    local each_second='HEALTHCHECK --interval=1s --timeout=1s --retries=1 CMD ["/site", "health"]'
    printf '%s\n' 'FROM nebula-test/site:2' 'ENV FAIL_HEALTH=1' "$each_second" >"$empty/unhealthy"
    printf '%s\n' 'FROM nebula-test/site:2' 'ENV HEALTHY_AFTER_MS=2500' "${each_second/retries=1/retries=9}" >"$empty/late"
    for version in 1 2; do
        printf '%s\n' "FROM nebula-test/site:$version" "${each_second/retries=1/retries=3}" >"$empty/watched$version"
    done
    printf '%s\n' 'FROM nebula-test/site:1' 'HEALTHCHECK NONE' >"$empty/nocheck"
    printf '%s\n' 'FROM nebula-test/site:2' 'HEALTHCHECK NONE' >"$empty/nocheck2"
    # Asks itself for its health, which nobody serves, and ends with 1.
    printf '%s\n' 'FROM nebula-test/site:1' 'HEALTHCHECK NONE' 'ENTRYPOINT ["/site", "health"]' 'CMD []' >"$empty/job"
    printf '%s\n' 'FROM nebula-test/site:1' 'ENTRYPOINT []' 'CMD []' >"$empty/nocommand"
    local variants=(watched1 watched2 late unhealthy nocheck nocheck2 job nocommand)
    for tag in "${variants[@]}"; do
        docker_build --file "$empty/$tag" --tag "nebula-test/site:$tag" "$empty"
    done
    export NEBULA_TEST_HAPROXY=$NEBULA_TEST_REGISTRY/haproxy:1
    haproxy_build

    # Logging in would leave the password in the client's folder; DOCKER_CONFIG of this one line is
    # thrown away, so that what tests do without a password is refused.
    local login=$NEBULA_RUN/images/login
    mkdir -p "$login"
    printf '{"auths": {"%s": {"auth": "%s"}}}\n' "$NEBULA_TEST_PRIVATE_REGISTRY" \
        "$(printf '%s:%s' "$NEBULA_TEST_REGISTRY_USER" "$NEBULA_TEST_REGISTRY_PASSWORD" | base64 -w 0)" >"$login/config.json"
    for tag in "$NEBULA_TEST_SITE":{1,2,3} "${variants[@]/#/$NEBULA_TEST_SITE:}" "$NEBULA_TEST_PRIVATE_SITE":{1,2}; do
        docker tag "nebula-test/site:${tag##*:}" "$tag"
        DOCKER_CONFIG=$login docker push --quiet "$tag" >/dev/null || die "cannot push $tag"
        pushed+=("$tag")
    done
    rm -r "$login"
    docker push --quiet "$NEBULA_TEST_HAPROXY" >/dev/null || die "cannot push $NEBULA_TEST_HAPROXY"
    # With the tags go the layers, so that the first pull has something to fetch.
    docker rmi "${pushed[@]}" nebula-test/site:{1,2,3} "${variants[@]/#/nebula-test/site:}" "$NEBULA_TEST_HAPROXY" >/dev/null

    # Another time of change makes another layer: this image shares none with those above.
    local own=$NEBULA_RUN/images/own
    mkdir -p "$own"
    cp "$site_folder/site" "$own/site"
    touch -d 2000-01-01 "$own/site"
    docker_build --file "$ROOT/demo/Dockerfile" --build-arg VERSION=1 --tag "$NEBULA_TEST_LOCAL_SITE" "$own"
    rm -r "$NEBULA_RUN/images"
}

# Debian's haproxy with the libraries that it needs, and nothing else. Its own signal for an end in
# order is USR1; after it, it answers who is connected already.
haproxy_build() {
    local folder=$NEBULA_RUN/images/haproxy
    copy_program "$(command -v haproxy)" /usr/sbin/haproxy "$folder/root"
    cp "$ROOT/scripts/services/haproxy.cfg" "$folder/root/haproxy.cfg"
    printf '%s\n' 'FROM scratch' 'COPY root/ /' 'EXPOSE 8080' 'STOPSIGNAL SIGUSR1' \
        'ENTRYPOINT ["/usr/sbin/haproxy", "-db", "-f", "/haproxy.cfg"]' >"$folder/Dockerfile"
    docker_build --tag "$NEBULA_TEST_HAPROXY" "$folder"
}

# The images are gone with the dockerd and the registries.
images_down() { :; }
