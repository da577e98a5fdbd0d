# The program in two stages: built with everything that ./dev names, run with what it links to.
#
#     docker build -t tombolo .
#     docker run -e DATABASE_URL=... -e TOMBOLO_SECRET=... -p 3000:3000 tombolo
#
# Any subcommand instead of `serve`: docker run tombolo sync --from http://... --db ...
# tests/integration/test_deployment.py runs these very steps, without an engine.

FROM debian:13.1-slim AS build
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
# As BUILD_PACKAGES in ./dev. Versions come with the base image: a mirror has no other ones.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends \
        gcc libc6-dev cmake ninja-build pkgconf libpq-dev libsqlite3-dev libyyjson-dev \
        libllhttp-dev libpg-query-dev libinih-dev libxxhash-dev libdeflate-dev libzstd-dev \
        libcurl4-openssl-dev zlib1g-dev libssl-dev libcmocka-dev librdkafka-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY CMakeLists.txt CMakePresets.json ./
COPY cmake cmake
COPY base base
COPY change change
COPY shapes shapes
COPY bridge bridge
COPY replica replica
COPY cli cli
RUN cmake -S . -B /build -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo -DTOMBOLO_TESTS=OFF \
    && cmake --build /build --target tombolo \
    && install --strip -D /build/tombolo /usr/local/bin/tombolo
# The packages of the libraries that it is linked with, whatever they are called in this Debian.
RUN ldd /usr/local/bin/tombolo | awk '$2 == "=>" { print "*/" $1 }' | xargs dpkg -S \
    | cut -d: -f1 | sort -u > /runtime-packages

FROM debian:13.1-slim
COPY --from=build /runtime-packages /usr/share/doc/tombolo/runtime-packages
RUN apt-get update \
    && xargs -a /usr/share/doc/tombolo/runtime-packages \
        apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --user-group --uid 10001 --home-dir /var/lib/tombolo --create-home tombolo
COPY --from=build /usr/local/bin/tombolo /usr/local/bin/tombolo
USER 10001
WORKDIR /var/lib/tombolo
VOLUME /var/lib/tombolo
ENV TOMBOLO_DATA_DIR=/var/lib/tombolo/state \
    TOMBOLO_LISTEN=0.0.0.0:3000
EXPOSE 3000
HEALTHCHECK --interval=5s --timeout=12s --start-period=60s --retries=3 \
    CMD ["tombolo", "status", "http://127.0.0.1:3000"]
ENTRYPOINT ["tombolo"]
CMD ["serve"]
