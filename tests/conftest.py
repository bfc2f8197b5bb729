"""Settings of all tests."""

from hypothesis import settings

# A busy machine must not fail a test that is right: what a time limit would find, the benchmarks measure.
settings.register_profile("kit", deadline=None)
settings.load_profile("kit")
