# The image Beam's remote runners start their workers from (--sdk_container_image). Build it in the repository's root:
#   docker build -f docker/worker.Dockerfile -t webtext-worker .
# Its Beam has to be the one of requirements.lock. The entry point, Beam's boot program, is the base image's.
FROM apache/beam_python3.11_sdk:2.77.0

WORKDIR /opt/webtext
COPY pyproject.toml requirements.lock LICENSE ./
COPY pipeline pipeline
COPY trainer trainer
COPY sql sql
RUN pip install --no-cache-dir uv==0.13.9 \
 && uv pip install --system --no-cache --constraint requirements.lock . \
 && useradd --create-home --uid 10001 webtext

USER webtext
WORKDIR /home/webtext
