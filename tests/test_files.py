"""A file is whole or absent."""

from pathlib import Path

import pytest

from selfie_localizer import files


def test_an_error_while_writing_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "report.txt"
    target.write_text("old")
    with pytest.raises(RuntimeError), files.atomic_write(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_replaces_a_folder_as_a_whole(tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.mkdir()
    (target / "old").touch()
    with files.atomic_write(target) as temporary:
        temporary.mkdir()
        (temporary / "new").touch()
    assert [path.name for path in target.iterdir()] == ["new"]
    assert list(tmp_path.iterdir()) == [target]


def test_json_has_the_same_bytes_for_the_same_content(tmp_path: Path) -> None:
    files.write_json(tmp_path / "a", {"b": 1, "a": "ä"})
    files.write_json(tmp_path / "b", {"a": "ä", "b": 1})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_json_refuses_nan_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(tmp_path / "a", {"a": float("nan")})
    assert not list(tmp_path.iterdir())


def test_digests_differ_where_parts_are_cut_differently() -> None:
    assert files.digest(b"ab", b"c") != files.digest(b"a", b"bc")
    assert files.digest({"a": 1, "b": 2}) == files.digest({"b": 2, "a": 1})


def test_what_a_killed_process_left_goes_with_the_next_write(tmp_path: Path, run_python) -> None:
    script = """
import os, sys
from pathlib import Path
from selfie_localizer import files
with files.atomic_write(Path(sys.argv[1]) / "report.txt") as temporary:
    temporary.write_text("half")
    os._exit(9)
"""
    assert run_python(script, str(tmp_path)).returncode == 9
    assert not (tmp_path / "report.txt").exists()
    with files.atomic_write(tmp_path / "report.txt") as temporary:
        temporary.write_text("whole")
    assert [path.name for path in tmp_path.iterdir()] == ["report.txt"]
