# The ticket centre: its page and its worker.
# Built from the repository's root: docker build -f docker/cloud.Dockerfile .
FROM python:3.13-slim AS build
WORKDIR /source
COPY docker/build.txt requirements/cloud.txt ./
RUN python -m venv /build \
 && /build/bin/pip install --no-cache-dir --require-hashes --no-deps --only-binary=:all: -r build.txt
# The tier's own environment has no pip, so nothing can be added to it later.
RUN python -m venv --without-pip /opt/drumtower \
 && /build/bin/pip --python /opt/drumtower install --no-cache-dir --require-hashes --no-deps --only-binary=:all: -r cloud.txt
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
 && install -d -o ${UID} -g ${GID} -m 0750 /var/lib/drumtower/evidence
COPY --from=build /opt/drumtower /opt/drumtower
ENV PATH=/opt/drumtower/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    DRUMTOWER_EVIDENCE_DIR=/var/lib/drumtower/evidence
WORKDIR /
USER ${UID}:${GID}
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s --retries=3 \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/healthz', timeout=4).read()"]
ENTRYPOINT ["drumtower"]
CMD ["cloud", "run", "--host", "0.0.0.0", "--port", "8080"]
