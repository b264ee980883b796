"""What importing the package decides for the libraries that are imported after it."""

import subprocess
from collections.abc import Callable

import pytest

SCRIPT = "import os, selfie_localizer; print(os.environ['TF_ENABLE_ONEDNN_OPTS'], os.environ['GX_ANALYTICS_ENABLED'])"


def test_onednn_is_on_and_telemetry_off_unless_the_user_says_otherwise(
    run_python: Callable[..., subprocess.CompletedProcess[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("TF_ENABLE_ONEDNN_OPTS", "GX_ANALYTICS_ENABLED"):
        monkeypatch.delenv(name, raising=False)
    assert run_python(SCRIPT).stdout.split() == ["1", "false"]
    assert run_python(SCRIPT, TF_ENABLE_ONEDNN_OPTS="0").stdout.split() == ["0", "false"]
