"""What all tests share."""


def pytest_make_parametrize_id(val):
    """Name a case by the length of its bytes: gzip writes the time into them, and processes must agree on names."""
    return f"{len(val)} bytes" if isinstance(val, bytes) else None
