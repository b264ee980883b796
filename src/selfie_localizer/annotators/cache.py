"""What was found out about a photo's content, kept for good: what decoding says, and what each annotator says.

An answer belongs to a content (the SHA-256 of the file's bytes) and a question (a digest of who is asked, in which
version, with which parameters). So only what nobody has asked yet is ever asked, and whatever happens to the file, no
more than time is lost: it is one SQLite database, each chunk of answers is one transaction, and what cannot be read or
does not pass its checksum counts as unknown.
"""

import math
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from selfie_localizer.progress import say
from selfie_localizer.state import cache_folder, exclusive

FILE = "annotations.db"
# Beyond this, what the data of today does not need is forgotten, what was not used for longest first.
MAX_BYTES = 2**30
# Another program's write is waited for that long.
BUSY_SECONDS = 30.0

_AT_ONCE = 500
# "SlfL", by which the file is told from other databases, and the version of its tables.
_MARK, _VERSION = 0x536C664C, 1
_TABLES = f"""
BEGIN;
PRAGMA application_id = {_MARK};
PRAGMA user_version = {_VERSION};
CREATE TABLE answers (
    content BLOB, question BLOB, answer TEXT, checksum INTEGER, PRIMARY KEY (content, question)
) WITHOUT ROWID;
CREATE TABLE used (content BLOB PRIMARY KEY, run INTEGER) WITHOUT ROWID;
COMMIT;
"""
# What says nothing about the file itself: no space, no permission, somebody else's lock. The names are SQLite's.
_UNAVAILABLE = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
}


class Cache:
    """The cache of one project; see `opened`.

    Contents are SHA-256 digests in hex, questions digests in hex, answers any text.

    Args:
        path: The database; None keeps everything in memory, for this run alone.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._disk: sqlite3.Connection | None = None
        self._writes = path is not None
        # Takes what the disk does not.
        self._memory = _new(":memory:")
        if path is not None:
            self._open(path)

    def read(self, contents: Sequence[str], question: str) -> dict[str, str]:
        """Returns the answers that there are, by content."""
        found: dict[str, str] = {}
        if self._disk is not None:
            try:
                found = _read(self._disk, contents, question)
            except sqlite3.DatabaseError as error:
                self._give_up(error)
        return found | _read(self._memory, contents, question)

    def write(self, answers: Iterable[tuple[str, str, str]]) -> None:
        """Keeps answers, each a content, a question and a text: all of them or, after a kill, none."""
        rows = [(*_key(one, question), answer, _check(one, question, answer)) for one, question, answer in answers]
        self._write("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?)", rows)

    def use(self, contents: Iterable[str]) -> None:
        """Says which contents this run has; their answers are never forgotten in favour of others'."""
        last = self._value("SELECT max(CAST(run AS INTEGER)) FROM used")
        self._write("INSERT OR REPLACE INTO used VALUES (?, ?)", [(bytes.fromhex(one), last + 1) for one in contents])

    def forget(self, max_bytes: int = MAX_BYTES) -> None:
        """Makes a file smaller that has grown past a bound, by forgetting a part of what this run does not have."""
        last = self._value("SELECT max(CAST(run AS INTEGER)) FROM used")
        size = self._value("PRAGMA page_count") * self._value("PRAGMA page_size")
        if self._disk is None or not self._writes or size <= max_bytes:
            return
        # A quarter more than needed, so that not every run has to.
        share = 1 - 0.75 * max_bytes / size
        count = math.ceil(share * self._value("SELECT count(*) FROM used"))
        try:
            old = "SELECT content FROM used WHERE run < ? ORDER BY run, content LIMIT ?"
            rows = self._disk.execute(old, (last, count)).fetchall()
            self._write("DELETE FROM answers WHERE content = ?", rows)
            self._write("DELETE FROM used WHERE content = ?", rows)
            if rows and self._disk is not None:
                self._disk.execute("VACUUM")
        except sqlite3.DatabaseError as error:
            self._give_up(error)

    def close(self) -> None:
        """Closes the database."""
        for connection in (self._disk, self._memory):
            if connection is not None:
                connection.close()

    def _value(self, query: str) -> int:
        try:
            if self._disk is not None:
                return int(self._disk.execute(query).fetchone()[0] or 0)
        except sqlite3.DatabaseError as error:
            self._give_up(error)
        return 0

    def _write(self, statement: str, rows: Sequence[Sequence[object]]) -> None:
        for _ in range(2):
            if self._disk is None or not self._writes:
                break
            try:
                with self._disk:
                    self._disk.executemany(statement, rows)
                return
            # After this there may be a new file.
            except sqlite3.DatabaseError as error:
                self._give_up(error, may_read=True)
        with self._memory:
            self._memory.executemany(statement, rows)

    def _open(self, path: Path) -> None:
        try:
            self._disk = _new(path)
        except sqlite3.DatabaseError as error:
            self._give_up(error)

    def _give_up(self, error: sqlite3.DatabaseError, may_read: bool = False) -> None:
        """Goes on without the file where it cannot be used, or with a new one where it is no good."""
        assert self._path is not None
        if _is_unavailable(error):
            say(
                f"{self._path}: {error}; going on without keeping what annotators say, which costs time in the next run"
            )
            self._writes = False
            if not may_read:
                self._disk = None
            return
        if self._disk is not None:
            self._disk.close()
            self._disk = None
        aside = self._path.with_name(f"{self._path.name}.unusable")
        say(f"{self._path}: not usable ({error}); moved to {aside.name}, and all images are asked about anew")
        try:
            self._path.replace(aside)
            # What belongs to the old file must not be applied to the new one.
            for part in ("-journal", "-wal", "-shm"):
                self._path.with_name(self._path.name + part).unlink(missing_ok=True)
            self._disk = _new(self._path)
        except (OSError, sqlite3.DatabaseError) as second:
            say(f"{self._path}: {second}; going on without it")
            self._disk, self._writes = None, False


@contextmanager
def opened(root: Path = Path(".")) -> Iterator[Cache]:
    """Gives the project's cache to one process at a time; another waits here, and then finds what the first found out.

    Where the folder cannot be written, nothing is kept, and one line says so.

    Args:
        root: The project's folder.
    """
    folder = cache_folder(root)
    path: Path | None = folder / FILE
    with ExitStack() as stack:
        try:
            folder.mkdir(exist_ok=True)
            waiting = f"annotate: another process is asking annotators for {folder.parent}; waiting for it to end"
            stack.enter_context(exclusive(folder / "annotations.lock", waiting))
        except OSError as error:
            say(f"{folder}: cannot be written ({error.strerror}); nothing is kept of what annotators say")
            path = None
        yield stack.enter_context(closing(Cache(path)))


def _new(path: Path | str) -> sqlite3.Connection:
    """Opens a database, and makes it where it is not there yet.

    Raises:
        sqlite3.DatabaseError: It cannot be used, or is something else's.
    """
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS)
    # Text that is none fails its checksum.
    connection.text_factory = lambda data: data.decode(errors="replace")
    try:
        if not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            connection.executescript(_TABLES)
        mark, kind = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))
        if (mark, kind) != (_MARK, _VERSION):
            raise sqlite3.NotSupportedError("not a cache of this version")
    except BaseException:
        connection.close()
        raise
    return connection


def _read(connection: sqlite3.Connection, contents: Sequence[str], question: str) -> dict[str, str]:
    found = {}
    for start in range(0, len(contents), _AT_ONCE):
        part = [bytes.fromhex(content) for content in contents[start : start + _AT_ONCE]]
        places = ",".join("?" * len(part))
        query = f"SELECT content, answer, checksum FROM answers WHERE question = ? AND content IN ({places})"
        for content, answer, checksum in connection.execute(query, [bytes.fromhex(question), *part]):
            if checksum == _check(content.hex(), question, answer):
                found[content.hex()] = answer
    return found


def _key(content: str, question: str) -> tuple[bytes, bytes]:
    return bytes.fromhex(content), bytes.fromhex(question)


def _check(content: str, question: str, answer: object) -> int:
    return zlib.crc32(f"{content} {question} {answer}".encode())


def _is_unavailable(error: sqlite3.DatabaseError) -> bool:
    # The lower byte is the kind; an error that Python raises by itself has no code.
    code = getattr(error, "sqlite_errorcode", None)
    return isinstance(error, sqlite3.OperationalError) and (code is None or code & 0xFF in _UNAVAILABLE)
