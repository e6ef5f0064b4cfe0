"""Connectivity checks: whether object stores and job services can be asked at all, before any work is begun.

Choice: one connection, and a look at what the environment names, before the first request; after a failure one
question more, whose answer has a status to go by. So a person is told the address and the cure within seconds. Cost: a
connection a process and bucket. Alternative: the clients' own errors, which come after minutes of trying again, and
speak of whatever they tried last.
"""

from __future__ import annotations

import http.client
import os
import shutil
import socket
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pipeline.shards.outcomes import ConfigError, StorageError

CONNECT_S = 5.0  # for a connection
METADATA_S = 1.0  # for one to the service that machines in a cloud have at hand
TRUE = ("1", "true", "yes", "on", "t", "y")
METADATA = {"s3": "http://169.254.169.254", "gs": "http://metadata.google.internal"}
METADATA_NAMES = {"s3": "AWS_METADATA_ENDPOINT", "gs": "GCE_METADATA_ROOT"}
KEYS = {  # settings of which one (all of a tuple) says who asks
    "s3": (
        ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), ("AWS_WEB_IDENTITY_TOKEN_FILE",), ("AWS_SKIP_SIGNATURE",),
        ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",), ("AWS_CONTAINER_CREDENTIALS_FULL_URI",),
    ),
    "gs": (
        ("GOOGLE_SERVICE_ACCOUNT",), ("GOOGLE_SERVICE_ACCOUNT_PATH",), ("GOOGLE_SERVICE_ACCOUNT_KEY",),
        ("GOOGLE_APPLICATION_CREDENTIALS",), ("GOOGLE_SKIP_SIGNATURE",),
    ),
}  # fmt: skip
CURES = {
    "s3": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_SKIP_SIGNATURE=true for a bucket that all may read",
    "gs": "run: gcloud auth application-default login, or set GOOGLE_APPLICATION_CREDENTIALS to a key file",
}
GCLOUD = Path(".config/gcloud/application_default_credentials.json")


def unreachable(address: str, timeout_s: float = CONNECT_S) -> str:
    """Why nobody can be reached at an address with a port, host:port or a URL; "" if somebody can."""
    parts = urlsplit(address if "//" in address else f"//{address}")
    try:
        port = parts.port or {"https": 443, "http": 80}.get(parts.scheme)
        if not (parts.hostname and port):
            return "not an address with a port"
        socket.create_connection((parts.hostname, port), timeout_s).close()
    except (OSError, ValueError) as error:
        return getattr(error, "strerror", None) or str(error) or type(error).__name__
    return ""


# --- object stores


def refuse_store(bucket: str) -> None:
    """Raise ConfigError: no credentials, or plain HTTP that nobody allowed; StorageError: nobody at the address."""
    kind = bucket.partition(":")[0]
    endpoint = endpoint_of(bucket)
    if endpoint.startswith("http://") and kind == "s3" and not is_true("AWS_ALLOW_HTTP"):
        raise ConfigError(f"{bucket}: {endpoint} is plain HTTP; to speak it, set AWS_ALLOW_HTTP=true")
    if not has_credentials(kind):
        raise without_credentials(bucket)
    proxied = urlsplit(endpoint).scheme in urllib.request.getproxies()
    if not proxied and (why := unreachable(endpoint)):
        cure = "start it, or correct AWS_ENDPOINT" if named_endpoint() and kind == "s3" else "look at the network"
        raise StorageError(f"{bucket}: nobody can be reached at {endpoint} ({why}); {cure}")


def named_endpoint() -> str:
    """The address of a store that is not Amazon's."""
    names = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
    return next((os.environ[name].rstrip("/") for name in names if os.environ.get(name)), "")


def endpoint_of(bucket: str) -> str:
    """Where the requests for a bucket go."""
    if bucket.startswith("gs:"):
        return "https://storage.googleapis.com"
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
    return named_endpoint() or f"https://s3.{region}.amazonaws.com"


def is_true(name: str) -> bool:
    """Whether a setting of the environment is switched on."""
    return os.environ.get(name, "").lower() in TRUE


def has_credentials(kind: str) -> bool:
    """Whether something says who asks: the environment, a file of gcloud's, the service that a cloud's machines ask."""
    if any(all(os.environ.get(name) for name in names) for names in KEYS[kind]):
        return True
    if kind == "gs" and (Path(os.environ.get("HOME", "/")) / GCLOUD).is_file():
        return True
    return not unreachable(os.environ.get(METADATA_NAMES[kind]) or METADATA[kind], METADATA_S)


def without_credentials(bucket: str) -> ConfigError:
    """The one line for a store that is asked by nobody in particular."""
    return ConfigError(f"{bucket}: no credentials for it; {CURES[bucket.partition(':')[0]]}")


def diagnosis(bucket: str, message: str) -> ConfigError | StorageError | None:
    """What is wrong, told from the answer to one request without a signature; None: nothing that can be told so.

    `said`: what the client said of it, which is not shown where it speaks of the service that has credentials.
    """
    kind = bucket.partition(":")[0]
    service = urlsplit(os.environ.get(METADATA_NAMES[kind]) or METADATA[kind]).hostname
    if (service and service in message) or METADATA["s3"].rpartition("/")[2] in message:
        return without_credentials(bucket)
    endpoint, name = urlsplit(endpoint_of(bucket)), bucket.rpartition("/")[2]
    connect = http.client.HTTPSConnection if endpoint.scheme == "https" else http.client.HTTPConnection
    try:
        asking = connect(endpoint.hostname or "", endpoint.port, timeout=CONNECT_S)
        asking.request("HEAD", f"{endpoint.path}/{name}")
        answer = asking.getresponse()
        status, region = answer.status, answer.getheader("x-amz-bucket-region")
        asking.close()
    except (OSError, http.client.HTTPException) as error:
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return StorageError(f"{bucket}: {endpoint.geturl()} gives no answer ({why}); run the same command again later")
    if region and region != (os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"):
        return ConfigError(f"{bucket}: it lies in another region; set AWS_REGION={region}")
    if status in (301, 307, 308):
        return ConfigError(f"{bucket}: {endpoint.geturl()} sends elsewhere; set AWS_REGION to the bucket's own")
    if status == 404:
        return StorageError(f"{bucket}: no such bucket; make it first, or correct the name")
    if str(status) in ("401", "403") and str(status) in message:  # as it answers everybody who is not known to it
        return StorageError(f"{bucket}: not allowed ({status}); check the credentials, and what they may do there")
    if status >= 500:
        return StorageError(f"{bucket}: {endpoint.geturl()} answers {status}; run the same command again later")
    return None


# --- job services


def refuse_job_service(runner: str, options: Mapping[str, Any]) -> None:
    """Raise ConfigError: nobody is at the job service that Beam's options name, or it cannot be started here."""
    address = str(options.get("job_endpoint") or "")
    if address == "embed":
        return
    if address:
        if why := unreachable(address):
            cure = "start the job service there, or correct the address"
            raise ConfigError(f"--job_endpoint={address}: nobody can be reached ({why}); {cure}")
        return
    engine = runner.removesuffix("Runner").lower()
    name = f"{engine}_job_server_jar"
    if name not in options or options.get(f"{engine}_submit_uber_jar"):
        return
    jar = str(options[name] or "")
    if jar and not urlsplit(jar).scheme and not Path(jar).is_file():
        raise ConfigError(f"--{name}={jar}: no such file; correct it, or name a running service by --job_endpoint")
    home = os.environ.get("JAVA_HOME")
    if not (shutil.which("java") or (home and shutil.which("java", path=f"{home}/bin"))):
        cure = "install one, or name a running service by --job_endpoint"
        raise ConfigError(f"{runner}: its job service is started by Java, and none is found; {cure}")
