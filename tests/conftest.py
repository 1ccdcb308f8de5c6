"""What all tests share: repeatable properties, and a place of their own for everything a run writes."""

import pytest
from hypothesis import settings

# Derandomized: a red build is red again on the next machine. `--hypothesis-profile search` looks for new examples.
settings.register_profile("repeatable", derandomize=True, print_blob=True, deadline=None)
settings.register_profile("search", derandomize=False, print_blob=True, deadline=None, max_examples=2_000)
settings.load_profile("repeatable")


@pytest.fixture
def home(tmp_path, monkeypatch):
    """The folder that results go to; it is not there yet."""
    path = tmp_path / "home"
    monkeypatch.setenv("PHASE4_HOME", str(path))
    monkeypatch.delenv("PHASE4_DEBUG", raising=False)
    return path
