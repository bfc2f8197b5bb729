"""Settings of all tests."""

import os

import pytest
from hypothesis import settings

# A busy machine must not slow the tests down, or fail one that is right: models this small are no faster with a second
# thread, which waits for a core that others use, and what a time limit would find, the benchmarks measure.
os.environ.setdefault("OMP_NUM_THREADS", "1")
settings.register_profile("kit", deadline=None)
settings.load_profile("kit")


@pytest.fixture(autouse=True)
def no_cache() -> None:
    """What one test has launched keeps nothing for the next."""
    from common import cache

    cache.use(None)
