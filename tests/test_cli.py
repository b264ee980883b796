"""The command line: help, exit codes and one line for each failure."""

import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from selfie_localizer import cli


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "selfie_localizer", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=600)


def test_help_lists_every_command_with_what_it_does(tmp_path: Path) -> None:
    done = run("--help", cwd=tmp_path)
    assert done.returncode == 0
    stages = ("annotate", "validate", "label", "prepare", "tune", "train", "evaluate", "promote")
    for verb in (
        *stages,
        "rollback",
        "status",
        "render",
        "fetch",
        "estimate",
        "summary",
        "predict",
        "export",
        "import",
        "export-boxes",
        "benchmark",
    ):
        assert re.search(rf"^    {verb}\s", done.stdout, re.MULTILINE)


def test_the_version_is_that_of_the_package(tmp_path: Path) -> None:
    done = run("--version", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, f"selfie-localizer {version('selfie-localizer')}\n")


def test_help_answers_without_importing_anything_heavy(tmp_path: Path) -> None:
    script = "import sys; from selfie_localizer import cli; cli._parser(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not {"tensorflow", "mlflow", "pandas", "cv2", "great_expectations"} & set(done.stdout.split())


@pytest.mark.parametrize("arguments", [[], ["anotate"], ["render"], ["render", "--out", "x", "--count", "-1"]])
def test_wrong_usage_exits_with_2(arguments: list[str], tmp_path: Path) -> None:
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_outside_the_project_one_line_says_where_to_run(tmp_path: Path) -> None:
    done = run("prepare", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == (
        "selfie-localizer: no params.yaml here: run this in the project's folder, the one with dvc.yaml\n"
    )


def test_a_summary_of_nothing_is_one_line(tmp_path: Path) -> None:
    done = run("summary", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "make run" in done.stderr


def test_ctrl_c_exits_with_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("selfie_localizer.app.summary.table", interrupted)
    with pytest.raises(SystemExit) as caught:
        cli.main(["summary"])
    assert caught.value.code == 130
    assert "run the same command again" in capsys.readouterr().err


def test_a_reader_that_goes_away_causes_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports/annotate.json").write_text('{"found": 1, "readable": 2}')
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "selfie_localizer", "summary"]
    done = subprocess.run(command, cwd=tmp_path, stdout=write, stderr=subprocess.PIPE, text=True, timeout=600)
    os.close(write)
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr
