# A box: cameras and sensors in, numbered packets out. Its configuration is mounted at /etc/drumtower.
# Built from the repository's root: docker build -f docker/edge.Dockerfile .
FROM python:3.13-slim-trixie AS build
WORKDIR /source
ENV PIP_NO_CACHE_DIR=1
COPY docker/install.sh docker/build.txt ./docker/
COPY requirements/edge.txt ./requirements/
RUN sh docker/install.sh packages edge
COPY pyproject.toml README.md LICENSE ./
COPY common ./common
COPY edge ./edge
COPY gateway ./gateway
COPY cloud ./cloud
COPY models ./models
COPY local ./local
RUN sh docker/install.sh drumtower

FROM python:3.13-slim-trixie
# compose.yaml gives the account that ran docker/prepare.py, which the secret files belong to.
ARG UID=10001
ARG GID=10001
COPY docker/finish.sh /usr/local/lib/drumtower/
RUN sh /usr/local/lib/drumtower/finish.sh ${UID} ${GID} /var/lib/drumtower
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
