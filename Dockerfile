# The first stage has a compiler's worth of tools; the second only what runs.
FROM python:3.11-slim AS build
WORKDIR /src
RUN python -m venv /opt/wingmanmatch
COPY requirements/server.txt requirements/server.txt
RUN /opt/wingmanmatch/bin/pip install --no-cache-dir --require-hashes -r requirements/server.txt
COPY . .
RUN /opt/wingmanmatch/bin/pip install --no-cache-dir --no-deps --no-build-isolation .

# In production the server inside listens beyond loopback only with TLS_CERT_FILE and TLS_KEY_FILE, or with
# INSECURE_BEHIND_PROXY=true where a proxy terminates TLS in front of the container: docs/identity.md.
FROM python:3.11-slim
RUN useradd --create-home --uid 10001 wingman && install -d -o wingman -m 0700 /var/lib/wingmanmatch
COPY --from=build /opt/wingmanmatch /opt/wingmanmatch
USER wingman
WORKDIR /var/lib/wingmanmatch
ENV PATH=/opt/wingmanmatch/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    DATA_DIR=/var/lib/wingmanmatch/data \
    LOG_FORMAT=json
VOLUME /var/lib/wingmanmatch
EXPOSE 50051 9464
# The administrator's address, 9465, is not exposed: it asks for no credential.
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:9465/readyz', timeout=2)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["wingmanmatch"]
CMD ["serve"]
