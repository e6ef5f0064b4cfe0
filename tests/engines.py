"""An engine of several processes on loopback: Beam's job service, and a pool of workers that it asks for work."""

import os
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import grpc

ROOT = Path(__file__).resolve().parents[1]
SERVICE = """
from apache_beam.runners.portability.local_job_service import LocalJobServicer
service = LocalJobServicer()
print(service.start_grpc_server(0), flush=True)
service._server.wait_for_termination()
"""
THREADS = """
from apache_beam.runners.worker.worker_pool_main import BeamFnExternalWorkerPoolServicer
address, server = BeamFnExternalWorkerPoolServicer.start()
print(address, flush=True)
server.wait_for_termination()
"""
# Beam would ask pip, for a second a pipeline, what is installed here: it is what is installed there
QUIET = "--experiments=disable_logging_submission_environment"


@contextmanager
def running(*arguments):
    """A Python process with what is developed here on its path, and the first line of what it prints."""
    python = Path(sys.executable)
    environment = {
        **os.environ,
        "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}",  # a pool starts its workers as `python`
        "PYTHONPATH": str(ROOT),
        "PYTHONSAFEPATH": "1",
    }
    process = subprocess.Popen(
        [python, *arguments], env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        yield process
    finally:
        process.terminate()
        process.communicate()


@contextmanager
def job_service():
    """Its address."""
    with running("-c", SERVICE) as process:
        yield f"localhost:{process.stdout.readline().strip()}"


@contextmanager
def pool_of_threads():
    """The address of a pool whose workers are threads of one process, which loads their libraries once."""
    with running("-c", THREADS) as process:
        yield process.stdout.readline().strip()


@contextmanager
def pool_of_processes():
    """The address of a pool as it is started by hand: a process a worker."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    with running("-m", "apache_beam.runners.worker.worker_pool_main", f"--service_port={port}") as process:
        threading.Thread(target=process.stdout.read, daemon=True).start()
        with grpc.insecure_channel(f"localhost:{port}") as channel:
            grpc.channel_ready_future(channel).result(timeout=120)
        yield f"localhost:{port}"


@contextmanager
def options(pool):
    """Beam's options for a job service and a `pool` that are up while the block lasts."""
    with job_service() as service, pool() as workers:
        yield ("--job_endpoint", service, "--environment_type=EXTERNAL", f"--environment_config={workers}", QUIET)
