# A box: cameras and sensors in, numbered packets out. Its configuration is mounted at /etc/drumtower.
# Built from the repository's root: docker build -f docker/edge.Dockerfile .
FROM python:3.13-slim AS build
WORKDIR /source
COPY docker/build.txt requirements/edge.txt ./
RUN python -m venv /build \
 && /build/bin/pip install --no-cache-dir --require-hashes --no-deps --only-binary=:all: -r build.txt
# The tier's own environment has no pip, so nothing can be added to it later.
RUN python -m venv --without-pip /opt/drumtower \
 && /build/bin/pip --python /opt/drumtower install --no-cache-dir --require-hashes --no-deps --only-binary=:all: -r edge.txt
COPY pyproject.toml README.md LICENSE ./
COPY common ./common
COPY edge ./edge
COPY gateway ./gateway
COPY cloud ./cloud
COPY models ./models
COPY local ./local
RUN /build/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels . \
 && /build/bin/pip --python /opt/drumtower install --no-cache-dir --no-deps --no-index --find-links /wheels drumtower \
 && /build/bin/pip --python /opt/drumtower check

FROM python:3.13-slim
# compose.yaml gives the account that ran docker/prepare.py, which the secret files belong to.
ARG UID=10001
ARG GID=10001
RUN python -m pip uninstall --yes --root-user-action=ignore pip \
 && install -d -o ${UID} -g ${GID} -m 0750 /var/lib/drumtower
COPY --from=build /opt/drumtower /opt/drumtower
ENV PATH=/opt/drumtower/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    DRUMTOWER_DATA=/var/lib/drumtower
WORKDIR /
USER ${UID}:${GID}
# The outbox is the box: while it can be read, nothing that was numbered is lost.
HEALTHCHECK --interval=60s --timeout=15s --start-period=60s --retries=3 \
  CMD ["drumtower", "edge", "outbox", "/var/lib/drumtower"]
ENTRYPOINT ["drumtower"]
CMD ["edge", "--help"]
