# Needs BuildKit. Behind a mirror or a proxy of your own, hand pip its settings as a secret that no
# layer keeps: docker build --secret id=pip.conf,src=$HOME/.config/pip/pip.conf .

FROM python:3.13-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_NO_COMPILE=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
RUN python -m venv --without-pip /opt/pisync
COPY requirements.txt requirements-build.txt ./
# Wheels alone, so that no stage needs a compiler.
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    pip --python /opt/pisync/bin/python install --require-hashes --only-binary :all: -r requirements.txt \
 && pip install --require-hashes --only-binary :all: -r requirements-build.txt
COPY . .
RUN pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
 && pip --python /opt/pisync/bin/python install --no-deps --no-index dist/*.whl \
 && python -m compileall -q --invalidation-mode unchecked-hash /opt/pisync/lib

# What the image is made of, as CycloneDX has it.
FROM python:3.13-slim AS sbom
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
COPY requirements-audit.txt ./
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    pip install --require-hashes --only-binary :all: -r requirements-audit.txt
COPY --from=build /opt/pisync /opt/pisync
RUN cyclonedx-py environment --output-reproducible --output-file /pisync.cdx.json /opt/pisync/bin/python

FROM python:3.13-slim
# The base image ships its standard library as source: compiled here once, not in memory at every
# start. Nothing will be installed from here on, so pip, apt and perl go, and so does every program that
# would give its caller more rights; dpkg's list of packages stays, for scanners. A volume takes
# /data's owner over.
RUN rm -rf /usr/local/bin/pip* /usr/local/lib/python3.13/site-packages/* /usr/local/lib/python3.13/ensurepip \
      /usr/bin/apt* /usr/lib/apt /usr/bin/perl* /usr/bin/dpkg* \
 && python -m compileall -q --invalidation-mode unchecked-hash -x '/(idlelib|lib2to3|test|tkinter|turtledemo)/' \
      /usr/local/lib/python3.13 \
 && useradd --uid 10001 --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin pisync \
 && install --directory --owner=10001 --group=10001 --mode=0700 /data \
 && find / -xdev -type f -perm /6000 -delete
COPY --from=sbom /pisync.cdx.json /usr/share/sbom/
COPY --from=build /opt/pisync /opt/pisync
ENV PATH=/opt/pisync/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 PISYNC_HOST=0.0.0.0
# By number: Kubernetes' runAsNonRoot cannot look names up.
USER 10001:10001
EXPOSE 8080
STOPSIGNAL SIGTERM
# It waits for 3 seconds itself; the rest is for its own start, beside a service under full load.
HEALTHCHECK --interval=5s --timeout=10s --start-period=30s --retries=3 CMD ["pisync", "healthcheck"]
ENTRYPOINT ["pisync"]
CMD ["serve"]
# Last, since they differ from build to build; `make image` knows them.
ARG VERSION=unknown REVISION=unknown
LABEL org.opencontainers.image.title="PiSync" \
      org.opencontainers.image.description="A device-sync backend to test against" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
