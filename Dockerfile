# Two small images from one build: `docker build --target ingest .` and `docker build --target notifier .`
#
# The binaries are static, so the images need no C library, no shell and no package manager: an image is
# one binary and the authorities that TLS connections are checked against. They are built for the machine
# that builds (`docker buildx build --platform linux/amd64,linux/arm64` builds each on its own).
#
# Both bases are arguments, for a registry of your own, or a tag with a digest:
#   --build-arg BUILD_IMAGE=…  Debian with gcc, its C library's headers, ca-certificates and Rust 1.89 or newer
#   --build-arg BASE_IMAGE=…   what the binary stands on: `scratch` is nothing at all; distroless "static" works too
ARG BUILD_IMAGE=rust:1.95.0-slim-bookworm
ARG BASE_IMAGE=scratch

FROM ${BUILD_IMAGE} AS build
WORKDIR /src
# glibc rather than musl: it is what the services were measured with. With `--target` the flags hold for
# our binaries only and not for procedural macros, which cannot be static.
# Paths of the build machine are no part of the binaries.
ENV RUSTFLAGS="-C target-feature=+crt-static --remap-path-prefix=/src=. --remap-path-prefix=/usr/local/cargo=cargo" \
    CARGO_PROFILE_RELEASE_STRIP=symbols \
    CARGO_TERM_COLOR=never

# First the dependencies, with empty crates in our own's place: this layer stays until a manifest changes.
COPY Cargo.toml Cargo.lock ./
COPY shared/Cargo.toml shared/
COPY ingest/Cargo.toml ingest/
COPY notifier/Cargo.toml notifier/
COPY cli/Cargo.toml cli/
COPY bench/Cargo.toml bench/
COPY faults/Cargo.toml faults/
RUN set -eu; \
    for crate in shared ingest notifier cli bench faults; do \
        mkdir -p "$crate/src"; touch "$crate/src/lib.rs"; echo 'fn main() {}' > "$crate/src/main.rs"; \
    done; \
    echo 'fn main() {}' > notifier/build.rs; \
    rustc -vV | sed -n 's/^host: //p' > /target
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    cargo build --release --locked --target "$(cat /target)" --package ingest --package notifier

# Then what they are for. Of `cli`, `bench` and `faults` the workspace needs no more than their empty crates.
RUN rm -r shared/src ingest/src notifier/src
COPY shared shared
COPY ingest ingest
COPY notifier notifier
# Cargo goes by times, and the files may be older than what was made of the empty crates.
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    set -eu; \
    find shared ingest notifier -name '*.rs' -exec touch {} +; \
    cargo build --release --locked --target "$(cat /target)" --package ingest --package notifier; \
    mkdir /out; \
    cp "target/$(cat /target)/release/ingest" "target/$(cat /target)/release/notifier" /out/; \
    /out/ingest --version; /out/notifier --version

FROM ${BASE_IMAGE} AS base
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
# A number, so that Kubernetes can see that it is not root without looking into the image.
USER 65532:65532
ENV ADMIN_ADDR=0.0.0.0:9090 LOG_FORMAT=json
EXPOSE 8080 9090
# Said again, since arguments end with their stage.
ARG VERSION=dev
ARG REVISION=unknown
ARG CREATED=1970-01-01T00:00:00Z
ARG SOURCE=""
LABEL org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.licenses="Apache-2.0"

FROM base AS ingest
LABEL org.opencontainers.image.title="mandrill-live ingest" \
      org.opencontainers.image.description="Takes Mandrill's webhooks into NATS JetStream"
COPY --from=build /out/ingest /ingest
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["/ingest", "healthcheck"]
ENTRYPOINT ["/ingest"]

FROM base AS notifier
LABEL org.opencontainers.image.title="mandrill-live notifier" \
      org.opencontainers.image.description="Delivers Mandrill's events to WebSockets and streams within milliseconds"
COPY --from=build /out/notifier /notifier
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["/notifier", "healthcheck"]
ENTRYPOINT ["/notifier"]
