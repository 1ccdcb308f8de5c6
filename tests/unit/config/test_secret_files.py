"""Files with secrets in them are looked at, never opened."""

import pytest

from phase4.config.resolution import resolve
from phase4.config.secret_files import file_errors


def errors(path):
    return file_errors(resolve({"HOME": "/home/ada", "ALERT_WEBHOOK_SECRET_FILE": str(path)}, {}, {}))


@pytest.fixture
def secret(tmp_path):
    path = tmp_path / "hook.key"
    path.write_text("s3cret")
    return path


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_file_that_only_its_owner_can_read_is_right(secret, mode):
    secret.chmod(mode)
    assert errors(secret) == ()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o700])
def test_a_file_that_others_can_read_is_named_with_its_mode(secret, mode):
    secret.chmod(mode)
    (error,) = errors(secret)
    assert (
        error
        == f"ALERT_WEBHOOK_SECRET_FILE: is a file of mode 0600, and this has {mode:04o}: {secret}; chmod 600 mends it"
    )


def test_a_file_that_is_not_there_is_named(tmp_path):
    (error,) = errors(tmp_path / "none")
    assert error.endswith("No such file or directory")


def test_a_folder_is_no_file(tmp_path):
    (error,) = errors(tmp_path)
    assert "this is none" in error


def test_where_no_file_is_set_nothing_is_wrong():
    assert file_errors(resolve({"HOME": "/home/ada"}, {}, {})) == ()
