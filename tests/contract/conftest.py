"""Homes for whole processes, each made once and copied for whoever asks."""

import pytest

from tests.contract.program import Homes


@pytest.fixture(scope="session")
def homes(tmp_path_factory):
    """Return homes on which command lines have run."""
    return Homes(tmp_path_factory.mktemp("homes"))
