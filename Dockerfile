# One image for every part: jetscan run | gateway | ingest | migrate | provision.
FROM python:3.11.16-slim-bookworm AS build
WORKDIR /app
COPY deploy/image/requirements.txt ./
RUN python -m venv /venv && /venv/bin/pip install --no-cache-dir --require-hashes -r requirements.txt
COPY pyproject.toml README.md ./
COPY runtime ./runtime
COPY functions ./functions
COPY bench ./bench
RUN /venv/bin/pip install --no-cache-dir --no-deps --no-build-isolation .

FROM python:3.11.16-slim-bookworm
ARG VERSION=local
ARG REVISION=unknown
LABEL org.opencontainers.image.title="jetscan" \
      org.opencontainers.image.description="A real-time market scanner made of event functions on NATS JetStream" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
RUN useradd --uid 1000 --no-create-home --shell /usr/sbin/nologin jetscan && install -d -o 1000 -g 1000 /data
COPY --from=build /venv /venv
WORKDIR /app
COPY subjects.yaml ./
COPY functions ./functions
COPY migrations ./migrations
# The root file system may be read-only: only /data, and /tmp where it is a tmpfs, are written.
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 JETSCAN_HOST=0.0.0.0 JETSCAN_DATA_DIR=/data
USER 1000:1000
EXPOSE 8090 9100
# Of `jetscan run`, as below; whoever runs another command says another check, as docker-compose.nats.yaml does.
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9100/ready', timeout=3)"]
ENTRYPOINT ["jetscan"]
CMD ["run", "--metrics-port", "9100"]
