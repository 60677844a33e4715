# Needs BuildKit. Behind a mirror or a proxy of your own, hand pip its settings as a secret that no
# layer keeps: docker build --secret id=pip.conf,src=$HOME/.config/pip/pip.conf .
#
# Two builds of the same commit make the same files: all that a layer brings is of the year 2000, and
# bytecode is checked against nothing. BuildKit alone says when a file was taken away or a folder got
# one: give it SOURCE_DATE_EPOCH and `rewrite-timestamp=true` (0.13), and the layers are the same, too.

# `make base-images` writes its digest down, and `make image` builds from that.
ARG PYTHON_IMAGE=python:3.13-slim

FROM ${PYTHON_IMAGE} AS tools
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore \
    PYTHONHASHSEED=0
WORKDIR /src

# What changes with the locks alone.
FROM tools AS dependencies
RUN python -m venv --without-pip /opt/pisync
COPY requirements.txt ./
# Wheels alone, so that no stage needs a compiler. Programs that packages bring go: nobody calls them.
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    pip --python /opt/pisync/bin/python install --no-compile --require-hashes --only-binary :all: \
      -r requirements.txt \
 && find /opt/pisync/bin -mindepth 1 ! -name 'python*' -delete \
 && python -m compileall -q -f --invalidation-mode unchecked-hash /opt/pisync/lib \
 && find /opt/pisync -exec touch --no-dereference --date=2000-01-01 {} +

# What changes with the code: a few megabytes.
FROM tools AS code
COPY requirements-build.txt ./
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    pip install --require-hashes --only-binary :all: -r requirements-build.txt
COPY --from=dependencies /opt/pisync /opt/pisync
COPY . .
RUN pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
 && pip --python /opt/pisync/bin/python install --no-compile --no-deps --no-index dist/*.whl \
 && python -m compileall -q -f --invalidation-mode unchecked-hash /opt/pisync/lib/python3.13/site-packages/pisync \
 && mkdir -p /code/bin /code/lib/python3.13/site-packages \
 && mv /opt/pisync/bin/pisync /code/bin \
 && install --mode=0755 docker/healthcheck /code/bin \
 && mv /opt/pisync/share /code \
 && mv /opt/pisync/lib/python3.13/site-packages/pisync* /code/lib/python3.13/site-packages \
 && find /code -exec touch --no-dereference --date=2000-01-01 {} +

# What the image is made of, as CycloneDX has it.
FROM tools AS sbom
COPY requirements-audit.txt ./
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    pip install --require-hashes --only-binary :all: -r requirements-audit.txt
COPY --from=dependencies /opt/pisync /opt/pisync
COPY --from=code /code /opt/pisync
# The pages' libraries are files of ours, and no packages of Python: they are added.
COPY tools/vendored tools/vendored
RUN cyclonedx-py environment --output-reproducible --output-file /pisync.cdx.json /opt/pisync/bin/python \
 && python -m tools.vendored /pisync.cdx.json \
 && touch --date=2000-01-01 /pisync.cdx.json

# An init: while the interpreter starts, it would not end on a signal if it were process 1.
FROM ${PYTHON_IMAGE} AS init
RUN apt-get update && apt-get install --yes --no-install-recommends tini \
 && touch --date=2000-01-01 /usr/bin/tini

FROM ${PYTHON_IMAGE}
# The base image ships its standard library as source: compiled here once, not in memory at every
# start. Nothing will be installed from here on, so pip, apt and perl go, and so does every program that
# would give its caller more rights; dpkg's list of packages stays, for scanners. A volume takes
# /data's owner over; group 0 may write there, since platforms that draw a user put it into that group.
RUN touch /dev/shm/began \
 && rm -rf /usr/local/bin/pip* /usr/local/bin/idle* /usr/local/bin/pydoc* \
      /usr/local/lib/python3.13/site-packages/* /usr/local/lib/python3.13/ensurepip \
      /usr/bin/apt* /usr/lib/apt /usr/bin/perl* /usr/bin/dpkg* \
 && PYTHONHASHSEED=0 python -m compileall -q -f --invalidation-mode unchecked-hash \
      -x '/(idlelib|lib2to3|test|tkinter|turtledemo)/' /usr/local/lib/python3.13 \
 && groupadd --gid 10001 pisync \
 && SOURCE_DATE_EPOCH=946684800 useradd --uid 10001 --gid 10001 --no-create-home \
      --home-dir /nonexistent --shell /usr/sbin/nologin pisync \
 && rm -f /etc/passwd- /etc/group- /etc/shadow- /etc/gshadow- /var/log/lastlog /var/log/faillog \
 && install --directory --owner=10001 --group=0 --mode=0770 /data \
 && find / -xdev -type f -perm /6000 -delete \
 && find / -xdev -newer /dev/shm/began ! -path '/proc*' ! -path '/sys*' \
      -exec touch --no-dereference --date=2000-01-01 {} + 2>/dev/null || true
COPY --from=init /usr/bin/tini /usr/bin/tini
COPY --from=dependencies /opt/pisync /opt/pisync
COPY --from=code /code /opt/pisync
COPY --from=sbom /pisync.cdx.json /usr/share/sbom/
ENV PATH=/opt/pisync/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 PISYNC_HOST=0.0.0.0 container=pisync
# By number: Kubernetes' runAsNonRoot cannot look names up.
USER 10001:10001
EXPOSE 8080
STOPSIGNAL SIGTERM
# It costs next to nothing: bash asks, see docker/healthcheck.
HEALTHCHECK --interval=1s --timeout=10s --start-period=180s --retries=10 CMD ["healthcheck"]
ENTRYPOINT ["tini", "--", "pisync"]
CMD ["serve"]
# Last, since they differ from build to build; `make image` knows them.
ARG VERSION=unknown REVISION=unknown CREATED=unknown SOURCE=unknown
LABEL org.opencontainers.image.title="PiSync" \
      org.opencontainers.image.description="A device-sync backend to test against" \
      org.opencontainers.image.documentation="docs/docker.md" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.source="$SOURCE" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.created="$CREATED"
