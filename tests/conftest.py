"""What all tests share."""

import pytest


def pytest_make_parametrize_id(val):
    """Name a case by the length of its bytes: gzip writes the time into them, and processes must agree on names."""
    return f"{len(val)} bytes" if isinstance(val, bytes) else None


@pytest.fixture(scope="module")
def load(tmp_path_factory):
    """`load_dataset` of `datasets`, without its network and with a cache of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv("HF_DATASETS_OFFLINE", "1")
        import datasets

        cache = str(tmp_path_factory.mktemp("cache"))
        datasets.disable_progress_bars()
        yield lambda path, **how: datasets.load_dataset(str(path), cache_dir=cache, **how)
