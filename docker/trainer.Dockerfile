# Trains and samples; the build argument BACKEND is uv's name of a torch build (cpu, cu130, …). In the repository's root:
#   docker build -f docker/trainer.Dockerfile --build-arg BACKEND=cu130 -t webtext-trainer .
#   docker run --gpus all -v "$PWD/work:/home/webtext/work" webtext-trainer train
FROM python:3.11-slim-bookworm
ARG BACKEND=cpu

WORKDIR /opt/webtext
COPY pyproject.toml requirements.lock LICENSE ./
COPY pipeline pipeline
COPY trainer trainer
COPY sql sql
RUN pip install --no-cache-dir uv==0.13.9 \
 && uv pip install --system --no-cache --torch-backend "$BACKEND" --constraint requirements.lock ".[train]" \
 && useradd --create-home --uid 10001 webtext

USER webtext
WORKDIR /home/webtext
ENTRYPOINT ["webtext"]
