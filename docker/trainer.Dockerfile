# Trains, samples and exports; BACKEND is uv's name of a torch build (cpu, cu130, …). In the repository's root:
#   docker build -f docker/trainer.Dockerfile --build-arg BACKEND=cu130 -t webtext-trainer .
#   docker run --gpus all -v "$PWD/work:/home/webtext/work" webtext-trainer train --dir work
# torch's wheels bring CUDA with them; the host needs a driver and NVIDIA's container toolkit. The user has the id 10001:
# who mounts a folder of another owner adds `--user $(id -u) -e HOME=/tmp`.
FROM python:3.11.14-slim-bookworm AS build
ARG BACKEND=cpu
ENV UV_COMPILE_BYTECODE=1 VIRTUAL_ENV=/opt/webtext
RUN pip install --no-cache-dir uv==0.13.9 && python -m venv "$VIRTUAL_ENV"
WORKDIR /src
COPY pyproject.toml requirements.lock ./
RUN uv pip install --no-cache --constraint requirements.lock --torch-backend "$BACKEND" \
    --extra train --extra tensorboard --requirements pyproject.toml
COPY LICENSE ./
COPY pipeline pipeline
COPY trainer trainer
COPY webtext webtext
COPY sql sql
RUN uv pip install --no-cache --no-deps --build-constraints requirements.lock .

FROM python:3.11.14-slim-bookworm
LABEL org.opencontainers.image.title="webtext-trainer" \
      org.opencontainers.image.description="Trains GPT-2 on webtext's token shards" \
      org.opencontainers.image.licenses="MIT"
# train.compile: torch writes C++, Triton C. Debian keeps one version of a release's compiler, and no older one to pin.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/webtext /opt/webtext
RUN useradd --create-home --uid 10001 webtext
ENV PATH=/opt/webtext/bin:$PATH PYTHONUNBUFFERED=1
USER 10001
WORKDIR /home/webtext
ENTRYPOINT ["webtext"]
