"""Whatever happens to the cache, an answer that comes out of it is the one that went in."""

import random
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from selfie_localizer.annotators import cache
from selfie_localizer.annotators.cache import Cache, opened
from selfie_localizer.files import sha256

QUESTION, OTHER = sha256(b"question"), sha256(b"other")


def contents(count: int, first: int = 0) -> list[str]:
    return [sha256(str(index).encode()) for index in range(first, first + count)]


def answers(known: list[str], question: str = QUESTION) -> list[tuple[str, str, str]]:
    return [(content, question, f"[{content}]") for content in known]


@pytest.fixture(autouse=True)
def _home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DVC_ROOT", raising=False)


def fill(root: Path, known: list[str]) -> None:
    with opened(root) as found:
        found.use(known)
        found.write(answers(known))


def read(root: Path, known: list[str], question: str = QUESTION) -> dict[str, str]:
    with opened(root) as found:
        return found.read(known, question)


def expected(known: list[str]) -> dict[str, str]:
    return {content: answer for content, _, answer in answers(known)}


def test_answers_are_kept_by_content_and_question(tmp_path: Path) -> None:
    known = contents(1_200)
    fill(tmp_path, known)
    assert read(tmp_path, [*known, *contents(3, 5_000)]) == expected(known)
    assert read(tmp_path, known, OTHER) == {}


def test_a_later_answer_takes_the_place_of_an_earlier_one(tmp_path: Path) -> None:
    with opened(tmp_path) as found:
        found.write([(contents(1)[0], QUESTION, "1"), (contents(1)[0], QUESTION, "2")])
    assert list(read(tmp_path, contents(1)).values()) == ["2"]


def test_an_experiment_in_a_copy_of_the_project_finds_the_project_s_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "project").mkdir()
    fill(tmp_path / "project", contents(3))
    (tmp_path / "copy").mkdir()
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "project"))
    assert read(tmp_path / "copy", contents(3)) == expected(contents(3))
    assert not (tmp_path / "copy/.cache").exists()


def damages() -> Iterator[tuple[str, Callable[[Path], None]]]:
    yield "text", lambda path: path.write_text("no database\n" * 1_000)
    yield "cut", lambda path: path.write_bytes(path.read_bytes()[:5_000])
    yield "header", lambda path: path.write_bytes(b"\0" * 100 + path.read_bytes()[100:])
    yield "zeros", lambda path: path.write_bytes(path.read_bytes()[:4_096] + b"\0" * 40_000)
    yield "foreign", make_foreign
    yield "other version", lambda path: execute(path, "PRAGMA user_version = 0")
    yield "no tables", lambda path: execute(path, "DROP TABLE answers")
    yield "other columns", lambda path: execute(path, "ALTER TABLE answers RENAME COLUMN answer TO reply")


def execute(path: Path, statement: str) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute(statement)
    connection.close()


def make_foreign(path: Path) -> None:
    path.unlink()
    execute(path, "CREATE TABLE answers (mine TEXT)")


@pytest.mark.parametrize(("name", "damage"), damages())
def test_a_damaged_or_foreign_file_is_moved_aside_with_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, damage: Callable[[Path], None]
) -> None:
    fill(tmp_path, contents(500))
    path = tmp_path / ".cache/annotations.db"
    damage(path)
    bad = path.read_bytes()
    with opened(tmp_path) as found:
        assert set(found.read(contents(500), QUESTION).items()) <= set(expected(contents(500)).items())
        found.use(contents(10))
        found.write(answers(contents(10)))
        assert found.read(contents(10), QUESTION) == expected(contents(10))
    assert capsys.readouterr().err.count("\n") == 1
    assert path.with_name("annotations.db.unusable").read_bytes()[100:4_000] == bad[100:4_000]
    assert read(tmp_path, contents(500)) == expected(contents(10))
    assert capsys.readouterr().err == ""


def test_flipped_bits_never_come_out_as_an_answer(tmp_path: Path) -> None:
    known = contents(300)
    fill(tmp_path, known)
    path = tmp_path / ".cache/annotations.db"
    whole = path.read_bytes()
    rng = random.Random(0)
    lost = 0
    for _ in range(60):
        bad = bytearray(whole)
        for _ in range(5):
            bad[rng.randrange(len(bad))] ^= 1 << rng.randrange(8)
        path.write_bytes(bad)
        with opened(tmp_path) as found:
            said = found.read(known, QUESTION)
            assert set(said.items()) <= set(expected(known).items())
            lost += len(said) < len(known)
            found.use(known)
            found.write(answers(known))
            assert found.read(known, QUESTION) == expected(known)
    assert lost > 20


def test_a_full_disk_is_one_line_and_what_was_known_stays_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(tmp_path, contents(100))
    new = cache._new

    def small(path: Path | str) -> sqlite3.Connection:
        connection = new(path)
        if path != ":memory:":
            connection.execute(f"PRAGMA max_page_count = {connection.execute('PRAGMA page_count').fetchone()[0]}")
        return connection

    monkeypatch.setattr(cache, "_new", small)
    with opened(tmp_path) as found:
        found.use(contents(2_000))
        for start in range(100, 2_000, 100):
            found.write(answers(contents(100, start)))
        assert found.read(contents(2_000), QUESTION) == expected(contents(2_000))
    said = capsys.readouterr().err
    assert "full" in said
    assert said.count("\n") == 1
    monkeypatch.undo()
    assert set(read(tmp_path, contents(2_000))) >= set(contents(100))


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / ".cache").write_text("in the way")
    with opened(tmp_path) as found:
        found.use(contents(5))
        found.write(answers(contents(5)))
        assert found.read(contents(5), QUESTION) == expected(contents(5))
    assert capsys.readouterr().err.count("\n") == 1


def test_a_database_that_another_program_holds_is_waited_for_and_then_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(tmp_path, contents(5))
    monkeypatch.setattr(cache, "BUSY_SECONDS", 0.1)
    other = sqlite3.connect(tmp_path / ".cache/annotations.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with opened(tmp_path) as found:
        found.write(answers(contents(5, 100)))
        assert found.read(contents(5, 100), QUESTION) == expected(contents(5, 100))
    assert "locked" in capsys.readouterr().err
    other.close()
    assert read(tmp_path, contents(5)) == expected(contents(5))


def test_past_its_bound_it_forgets_what_was_not_used_for_longest_and_never_what_is_used_now(tmp_path: Path) -> None:
    first, second, third = contents(2_000), contents(2_000, 10_000), contents(2_000, 20_000)
    for known in (first, second, third):
        fill(tmp_path, known)
    path = tmp_path / ".cache/annotations.db"
    bound = path.stat().st_size * 9 // 10
    with opened(tmp_path) as found:
        found.use(first)
        found.forget(2 * bound)
        assert found.read(second, QUESTION) == expected(second)
        found.forget(bound)
        assert path.stat().st_size < bound
        assert found.read(first, QUESTION) == expected(first)
        assert found.read(third, QUESTION) == expected(third)
        assert 0 < len(found.read(second, QUESTION)) < 2_000
        found.forget(1)
        assert found.read(first, QUESTION) == expected(first)
        assert found.read(third, QUESTION) == {}


def test_a_transaction_is_whole_or_absent_after_a_kill(tmp_path: Path) -> None:
    script = """
import sys
from pathlib import Path
from tests.annotators.test_cache import answers, contents, opened
with opened(Path(sys.argv[1])) as found:
    found.use(contents(5))
    print(flush=True)
    for start in range(0, 10**9, 1000):
        found.write(answers(contents(1000, start)))
"""
    rng = random.Random(0)
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(rng.uniform(0, 0.5))
        process.kill()
        process.wait()
        with opened(tmp_path) as found:
            for start in range(0, 5_000, 1_000):
                assert len(found.read(contents(1_000, start), QUESTION)) in (0, 1_000)


def test_of_two_processes_one_waits_and_finds_what_the_other_wrote(tmp_path: Path) -> None:
    script = """
import sys, time
from pathlib import Path
from tests.annotators.test_cache import QUESTION, answers, contents, opened
with opened(Path(sys.argv[1])) as found:
    print(len(found.read(contents(9), QUESTION)), flush=True)
    time.sleep(1)
    found.write(answers(contents(9)))
"""
    command = [sys.executable, "-c", script, str(tmp_path)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    said = [process.communicate() for process in [subprocess.Popen(command, **pipes) for _ in range(2)]]
    assert sorted(out for out, _ in said) == ["0\n", "9\n"]
    assert sum("waiting for it to end" in error for _, error in said) == 1


def test_without_a_path_nothing_is_written() -> None:
    found = Cache(None)
    found.use(contents(3))
    found.write(answers(contents(3)))
    found.forget(0)
    assert found.read(contents(3), QUESTION) == expected(contents(3))
    found.close()
