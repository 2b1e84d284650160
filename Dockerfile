# The image of `rag-chain serve`: everything is installed in the first stage, the second one only copies it.

FROM python:3.13.16-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
RUN python -m venv --without-pip /opt/venv \
    && pip install --no-cache-dir hatchling==1.33.0
# The dependencies are a layer of their own, which a change in the code does not rebuild.
COPY pyproject.toml constraints.txt ./
RUN --mount=type=cache,target=/root/.cache/pip \
    python -c "import tomllib; project = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
extras = project['optional-dependencies']; \
print(*project['dependencies'], *extras['local'], *extras['serve'], sep='\n')" > /tmp/dependencies.txt \
    && pip --python /opt/venv/bin/python install --only-binary :all: -c constraints.txt -r /tmp/dependencies.txt
COPY README.md LICENSE ./
COPY examples/corpus examples/corpus
COPY rag_chain rag_chain
RUN pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /tmp/wheel . \
    && pip --python /opt/venv/bin/python install --no-cache-dir --no-deps /tmp/wheel/*.whl

FROM python:3.13.16-slim-bookworm
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="rag-chain" \
    org.opencontainers.image.description="From a folder of documents to a cited, streaming answer" \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}"
RUN groupadd --gid 10001 rag \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /data --shell /usr/sbin/nologin rag \
    && install -d -o 10001 -g 10001 -m 0750 /data
COPY --from=build /opt/venv /opt/venv
# onnxruntime reports its use to its maker unless it is told not to.
# Only /data and /tmp are written to. HOME is /tmp since /data may not be mounted beside a Milvus server.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp \
    ORT_DISABLE_TELEMETRY=1 \
    MILVUS_URI=/data/rag_chain.db \
    RAG_KEYS_FILE=/data/keys.json \
    RAG_WEB_CACHE=/data/web \
    RAG_UPLOAD_FOLDER=/data/uploads
# A number, so that Kubernetes can tell that it is not root.
USER 10001:10001
WORKDIR /data
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/livez', timeout=4)"]
ENTRYPOINT ["rag-chain"]
CMD ["serve", "--host", "0.0.0.0"]
