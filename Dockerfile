# The same image as `cargo xtask image` makes, for those who have Docker:
#   docker build --tag wscluster.dev/wscluster:0.1.0 .

FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
# Collects the three programs and the shared libraries that they need.
RUN cargo xtask image --rootfs /rootfs

FROM scratch
COPY --from=build /rootfs/ /
LABEL org.opencontainers.image.title="wscluster" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="https://github.com/wscluster/wscluster"
USER 65532:65532
