# The ticket centre: its page and its worker.
# Built from the repository's root: docker build -f docker/cloud.Dockerfile .
FROM python:3.13-slim-trixie AS build
WORKDIR /source
ENV PIP_NO_CACHE_DIR=1
COPY docker/install.sh docker/build.txt ./docker/
COPY requirements/cloud.txt ./requirements/
RUN sh docker/install.sh packages cloud
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
RUN sh /usr/local/lib/drumtower/finish.sh ${UID} ${GID} /var/lib/drumtower/evidence
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
