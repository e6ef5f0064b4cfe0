# The image that Beam's remote runners start their workers from (--sdk_container_image). In the repository's root:
#   docker build -f docker/worker.Dockerfile -t webtext-worker .
# Python and Beam's boot program, and exactly what requirements.lock names of what a worker needs. To pin the images
# themselves, write the digest behind their tags that `docker buildx imagetools inspect` tells.
FROM apache/beam_python3.11_sdk:2.77.0 AS beam

FROM python:3.11.14-slim-bookworm AS build
ENV UV_COMPILE_BYTECODE=1 VIRTUAL_ENV=/opt/webtext
RUN pip install --no-cache-dir uv==0.13.9 && python -m venv "$VIRTUAL_ENV"
WORKDIR /src
COPY pyproject.toml requirements.lock ./
RUN uv pip install --no-cache --constraint requirements.lock \
    --extra gcp --extra commoncrawl --extra newspaper --requirements pyproject.toml
COPY LICENSE ./
COPY pipeline pipeline
COPY trainer trainer
COPY webtext webtext
COPY sql sql
RUN uv pip install --no-cache --no-deps --build-constraints requirements.lock .

FROM python:3.11.14-slim-bookworm
LABEL org.opencontainers.image.title="webtext-worker" \
      org.opencontainers.image.description="A worker of the webtext pipeline for Beam's portable runners" \
      org.opencontainers.image.licenses="MIT"
COPY --from=beam /opt/apache/beam /opt/apache/beam
COPY --from=build /opt/webtext /opt/webtext
RUN useradd --create-home --uid 10001 webtext
# The boot program runs `python` of the PATH, and is kept from making a virtual environment of its own around it.
ENV PATH=/opt/webtext/bin:$PATH RUN_PYTHON_SDK_IN_DEFAULT_ENVIRONMENT=1 PYTHONUNBUFFERED=1 WEBTEXT_CACHE=/tmp/webtext
USER 10001
WORKDIR /home/webtext
ENTRYPOINT ["/opt/apache/beam/boot"]
