# One image for every mode: `docker run nebula manager`. `make image` prepares what is copied here:
# a static binary, /etc/nsswitch.conf and the empty folders /tmp and /var/lib/nebula*.
FROM scratch
COPY target/image/ /

ARG VERSION
LABEL org.opencontainers.image.title=nebula \
      org.opencontainers.image.version=$VERSION \
      org.opencontainers.image.licenses=Apache-2.0

ENV PATH=/usr/bin
EXPOSE 80

# No VOLUME: it would leave an anonymous volume behind for each worker and each `ctl`. A manager's
# data wants a named one: docker run -v nebula:/var/lib/nebula nebula manager
ENTRYPOINT ["nebula"]
