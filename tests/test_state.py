"""State of unfinished work has one owner at a time and never outlives what it was made for."""

import subprocess
import sys
from pathlib import Path

from selfie_localizer.state import locked_state


def test_state_of_the_same_fingerprint_is_found_again(tmp_path: Path) -> None:
    with locked_state("stage", "a" * 64, tmp_path) as folder:
        (folder / "part").touch()
    with locked_state("stage", "a" * 64, tmp_path) as folder:
        assert (folder / "part").exists()


def test_state_of_another_fingerprint_is_deleted(tmp_path: Path) -> None:
    with locked_state("stage", "a" * 64, tmp_path) as old:
        (old / "part").touch()
    with locked_state("stage", "b" * 64, tmp_path) as new:
        assert not list(new.iterdir())
    assert not old.exists()


def test_state_of_another_stage_is_left_alone(tmp_path: Path) -> None:
    with locked_state("one", "a" * 64, tmp_path) as one:
        (one / "part").touch()
    with locked_state("two", "b" * 64, tmp_path):
        pass
    assert (one / "part").exists()


HOLDER = """
import sys, time
from pathlib import Path
from selfie_localizer.state import locked_state
with locked_state("stage", "a" * 64, Path(sys.argv[1])) as folder:
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""


def test_a_second_process_waits_until_the_first_is_killed(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path), "60"], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    second = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path), "0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert second.stderr is not None
    assert "waiting for it to end" in second.stderr.readline()
    assert second.poll() is None
    holder.kill()
    holder.wait()
    out, _ = second.communicate(timeout=300)
    assert out == "held\n"
