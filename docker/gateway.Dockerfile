# The district's gateway. Also runs `drumtower schema migrate`, `drumtower gateway enrol` and `drumtower backup`.
# Built from the repository's root: docker build -f docker/gateway.Dockerfile .
FROM python:3.13-slim-trixie AS build
WORKDIR /source
ENV PIP_NO_CACHE_DIR=1
COPY docker/install.sh docker/build.txt ./docker/
COPY requirements/gateway.txt ./requirements/
RUN sh docker/install.sh packages gateway
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
# pg_dump and pg_restore of the store's version, for `drumtower backup`; Debian 13 has no other.
RUN sh /usr/local/lib/drumtower/finish.sh ${UID} ${GID} /var/lib/drumtower/evidence postgresql-client-17
COPY --from=build /opt/drumtower /opt/drumtower
ENV PATH=/opt/drumtower/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    DRUMTOWER_EVIDENCE_DIR=/var/lib/drumtower/evidence
WORKDIR /
USER ${UID}:${GID}
# A gateway that stands by serves its metrics too, so it is healthy as well.
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s --retries=3 \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9464/metrics', timeout=4).read()"]
ENTRYPOINT ["drumtower"]
CMD ["gateway", "run", "--config", "/etc/drumtower/gateway.yaml", "--metrics-port", "9464"]
