# One image for every part: jetscan run | gateway | ingest | provision.
FROM python:3.11-slim-bookworm AS build
WORKDIR /app
COPY requirements.txt ./
RUN python -m venv /venv && /venv/bin/pip install --no-cache-dir --require-hashes -r requirements.txt
COPY pyproject.toml README.md ./
COPY runtime ./runtime
COPY functions ./functions
COPY bench ./bench
RUN /venv/bin/pip install --no-cache-dir --no-deps --no-build-isolation .

FROM python:3.11-slim-bookworm
LABEL org.opencontainers.image.title="jetscan" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN useradd --uid 1000 --no-create-home --shell /usr/sbin/nologin jetscan
COPY --from=build /venv /venv
WORKDIR /app
COPY subjects.yaml ./
COPY functions ./functions
COPY migrations ./migrations
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 JETSCAN_HOST=0.0.0.0
USER 1000
EXPOSE 8090
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s CMD ["jetscan", "check"]
ENTRYPOINT ["jetscan"]
CMD ["run"]
