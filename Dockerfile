# One image for every mode: `docker run nebula manager`. The order of the stages is on purpose:
# `docker build --target local FOLDER` makes the image of a root folder that was prepared outside
# (scripts/image does so), pulls nothing, and needs no BuildKit. `docker build .` compiles in a
# Rust image; a builder without BuildKit goes through `local` as well, for nothing but a copy.

# What holds for the image, whoever compiles.
FROM scratch AS runtime
ARG VERSION=0.1.0
ARG REVISION
ARG CREATED
LABEL org.opencontainers.image.title=nebula \
      org.opencontainers.image.description="Runs Docker apps on fleets of devices: manager, worker, reporter and ctl" \
      org.opencontainers.image.version=$VERSION \
      org.opencontainers.image.revision=$REVISION \
      org.opencontainers.image.created=$CREATED \
      org.opencontainers.image.licenses=Apache-2.0

# Manager, reporter and ctl go on as this user and group when they are started as root; a worker
# stays root, for Docker's socket is root's. Empty turns it off; see docs/image.md.
ENV PATH=/usr/bin \
    NEBULA_RUN_AS=65532:65532

# It asks the mode that runs as process 1, as that mode was configured; each time is one start of a
# process, of some milliseconds.
HEALTHCHECK --interval=10s --timeout=8s --start-period=30s --retries=3 CMD ["nebula", "health"]
EXPOSE 80

# No VOLUME: it would leave an anonymous volume behind for each worker and each `ctl`. A manager's
# data wants a named one: docker run -v nebula:/var/lib/nebula nebula manager
ENTRYPOINT ["nebula"]

# From a prepared root folder.
FROM runtime AS local
COPY . /

# From the sources. `scripts/binary` is what a machine with Rust runs as well.
FROM rust:1.95-bookworm AS build
WORKDIR /build
# A commit's own time gives the same bytes at each build of it.
ARG SOURCE_DATE_EPOCH=0
COPY . .
RUN SOURCE_DATE_EPOCH="$SOURCE_DATE_EPOCH" scripts/binary --root /root-folder

FROM runtime
COPY --from=build /root-folder/ /
