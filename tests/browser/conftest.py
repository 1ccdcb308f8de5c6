"""The browser: found, or installed where that is harmless, or the tests are skipped with the reason."""

import os
import shutil
import subprocess

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
SKIPPED = "NO CHROMIUM: the views are not tested"


def _found():
    return next((path for path in map(shutil.which, NAMES) if path), None)


def _install():
    """Install the distribution's chromium; return the reason if it did not work."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (
        ["apt-get", "update", "-qq"],
        ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium"],
    ):
        try:
            done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
        except subprocess.TimeoutExpired:
            return f"{' '.join(command)} took more than 5 minutes"
        if done.returncode:
            return f"{' '.join(command)} failed: {done.stderr.strip().splitlines()[-1:]}"
    return None


@pytest.fixture(scope="session")
def chromium():
    """The path of a chromium. Root of a machine with apt-get is taken for a container that may have it installed."""
    if _found() is None:
        if os.geteuid() != 0 or shutil.which("apt-get") is None:
            pytest.skip(f"{SKIPPED}; install it, for example: apt-get install chromium")
        reason = _install()
        if reason:
            pytest.skip(f"{SKIPPED}; {reason}")
    return _found()
