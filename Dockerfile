# Dockerfile
#	  The official PostgreSQL image with chassis in it, and nothing else changed.
#
#	  docker build -t chassis .
#	  docker build -t chassis:16 --build-arg PG_MAJOR=16 .
#	  docker run -e POSTGRES_PASSWORD=... -p 127.0.0.1:5432:5432 chassis
#
# Entry point, user, volume and variables are those of
# https://hub.docker.com/_/postgres; in each database, or in a script in
# /docker-entrypoint-initdb.d, say CREATE EXTENSION chassis.
#
# Compiled in a stage of its own, so that the image grows by the extension's
# files only and keeps its versions of everything else.  This file is built by
# continuous integration, not by `make test`: that runs where there is no Docker.
#
# SPDX-License-Identifier: Apache-2.0 OR MIT

ARG PG_MAJOR=17
ARG DEBIAN_CODENAME=bookworm

FROM postgres:${PG_MAJOR}-${DEBIAN_CODENAME} AS build

RUN set -eux; \
	apt-get update; \
	apt-get install -y --no-install-recommends \
		gcc \
		libc6-dev \
		make \
		"postgresql-server-dev-$PG_MAJOR" \
	; \
	rm -rf /var/lib/apt/lists/*

COPY . /usr/src/chassis

# The headers may be of a later minor version than the image's server: a module
# built with them runs on every minor version of the major one.
RUN set -eux; \
	cd /usr/src/chassis; \
	export PG_CONFIG="/usr/lib/postgresql/$PG_MAJOR/bin/pg_config"; \
	make -j "$(nproc)"; \
	make install DESTDIR=/stage; \
	install -D -m 644 -t /stage/usr/share/doc/chassis \
		LICENSE-APACHE LICENSE-MIT README.md CHANGELOG.md

FROM postgres:${PG_MAJOR}-${DEBIAN_CODENAME}

LABEL org.opencontainers.image.title="PostgreSQL with chassis" \
	org.opencontainers.image.description="Vector similarity search in PostgreSQL" \
	org.opencontainers.image.licenses="Apache-2.0 OR MIT"

COPY --from=build /stage/ /
