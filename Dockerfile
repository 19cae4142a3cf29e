# One image for every process: worker, ingress, pollers, console and, for a look around, the sandbox providers.
FROM python:3.11-slim-bookworm AS packages
COPY requirements.lock /tmp/requirements.lock
# Wheels alone: a source package would fetch what builds it, without a hash.
RUN python -m venv /opt/streams \
 && /opt/streams/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes --only-binary :all: \
      -r /tmp/requirements.lock

FROM python:3.11-slim-bookworm
ENV PATH=/opt/streams/bin:$PATH \
    PYTHONPATH=/app \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    STREAMS_CONFIG=/etc/streams/streams.toml
RUN groupadd --gid 10001 streams \
 && useradd --uid 10001 --gid 10001 --create-home --home-dir /var/lib/streams --shell /usr/sbin/nologin streams \
 && install --directory --owner streams --group streams /var/lib/sandbox
COPY --from=packages /opt/streams /opt/streams
COPY LICENSE /app/LICENSE
COPY schemas /app/schemas
COPY streams /app/streams
RUN python -m compileall -q -j 0 /app/streams /opt/streams/lib
WORKDIR /var/lib/streams
# By number: Kubernetes cannot tell from a name that it is not root.
USER 10001:10001
EXPOSE 8080 8090 8091
# The worker answers on 8090, the ingress on 8080, the pollers on 8091; whichever runs here decides.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
  CMD ["python", "-m", "streams.health", "http://127.0.0.1:8090/health/live", "http://127.0.0.1:8080/health/live", "http://127.0.0.1:8091/health/live"]
ENTRYPOINT ["python", "-m", "streams"]
CMD ["worker"]
