# The image of all pods: `python -m watcher|loader|verifier|k8s`, `ingest` and, unless built with --target production, the
# sandbox's Postgres and iRODS. docs/kubernetes.md says how to build it; `make lock` refreshes what is installed.
#
#   docker build  -t localhost/irods-inventory-loader .
#   buildah bud   -t localhost/irods-inventory-loader .
#
# The base needs Python 3.11 or newer, pip 22.3 or newer and glibc. Pin it by digest: --build-arg BASE_IMAGE=…@sha256:…
ARG BASE_IMAGE=docker.io/library/python:3.12-slim-bookworm

FROM ${BASE_IMAGE} AS build
# for sites with a mirror or a folder of wheels; pip reads them from the environment
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_FIND_LINKS
ARG PIP_NO_INDEX
ARG PIP_CERT
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ONLY_BINARY=:all:
WORKDIR /build
RUN ["python3", "-m", "venv", "--without-pip", "/build/tools"]
RUN ["python3", "-m", "venv", "--without-pip", "/opt/venv"]
COPY requirements requirements
RUN ["python3", "-m", "pip", "--python", "tools/bin/python", "install", "--require-hashes", "-r", "requirements/build.lock"]
RUN ["python3", "-m", "pip", "--python", "/opt/venv/bin/python", "install", "--require-hashes", "-r", "requirements/pods.lock"]
COPY . source
RUN ["tools/bin/python", "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", "wheel", "./source"]
RUN python3 -m pip --python /opt/venv/bin/python install --no-deps --no-index wheel/*.whl

FROM build AS build-sandbox
# not every builder hands the arguments of one stage on to the next
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_FIND_LINKS
ARG PIP_NO_INDEX
ARG PIP_CERT
RUN ["python3", "-m", "pip", "--python", "/opt/venv/bin/python", "install", "--require-hashes", "-r", "requirements/sandbox.lock"]

FROM ${BASE_IMAGE} AS base
# a name for the user: PostgreSQL wants one
RUN echo 'ingest:x:10001:10001:ingest:/tmp:/usr/sbin/nologin' >> /etc/passwd && echo 'ingest:x:10001:' >> /etc/group
ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin HOME=/tmp PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /tmp
# pods are the first process of their container and take signals themselves (core/signals.py): no init is needed
CMD ["ingest", "--help"]

# the pods and nothing else
FROM base AS production
COPY --from=build /opt/venv /opt/venv
USER 10001:10001

# the same and PostgreSQL, so that the sandbox overlay needs no other image
FROM base AS sandbox
COPY --from=build-sandbox /opt/venv /opt/venv
USER 10001:10001
