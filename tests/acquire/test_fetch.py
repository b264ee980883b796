"""Whatever the network, the server, the disk or the archive does, `data/` is as before or holds the whole dataset."""

import contextlib
import gzip
import io
import multiprocessing
import os
import pty
import re
import shutil
import signal
import socket
import subprocess
import tarfile
import threading
import time
from collections import namedtuple
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest

from selfie_localizer.acquire import download as download_module
from selfie_localizer.acquire import fetch as fetch_module
from selfie_localizer.acquire.extract import BadArchiveError, Limits, extract
from selfie_localizer.acquire.fetch import fetch
from selfie_localizer.cli import main
from selfie_localizer.errors import UsageError, UserError

TEXT = b"00a454da_495e\t1 0 1\n"


def jpeg(seed: int, size: int = 48) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (size, size, 3), np.uint8)
    return cv2.imencode(".jpg", pixels)[1].tobytes()


def member(name: str, data: bytes = b"", **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in fields.items():
        setattr(info, key, value)
    return info, data


def tar_gz(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as tar:
        for info, data in members:
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def dataset(count: int = 60, first: int = 0) -> bytes:
    images = [member(f"Selfie-dataset/images/{first + i:05d}.jpg", jpeg(first + i)) for i in range(count)]
    folder = member("Selfie-dataset", type=tarfile.DIRTYPE, mode=0o755)
    litter = member("Selfie-dataset/images/._00000.jpg", b"resource fork")
    return tar_gz(folder, member("Selfie-dataset/selfie_dataset.txt", TEXT), litter, *images)


@dataclass
class Site:
    """What the server serves and how it misbehaves; `cuts`: after how many body bytes each GET is cut."""

    url: str = ""
    content: bytes = b""
    etag: str | None = '"one"'
    ranges: bool = True
    honours_if_range: bool = True
    knows_head: bool = True
    claimed_extra: int = 0
    says_length: bool = True
    statuses: list[int] = field(default_factory=list)
    cuts: list[int] = field(default_factory=list)
    stall: threading.Event | None = None
    after_cut: Callable[[], None] = lambda: None
    gets: list[tuple[str | None, int]] = field(default_factory=list)

    @property
    def starts(self) -> list[int]:
        """First byte that each GET asked for."""
        return [int(re.findall(r"\d+", wanted)[0]) if wanted else 0 for wanted, _ in self.gets]


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site(content=dataset())

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_HEAD(self) -> None:
            if not site.knows_head:
                self.send_error(405)
            else:
                self.answer(0)

        def answer(self, start: int) -> int:
            if site.statuses and (self.command == "GET" or site.statuses[0] == 404):
                self.send_error(site.statuses.pop(0))
                return len(site.content)
            self.send_response(206 if start else 200)
            if start:
                size = len(site.content)
                self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
            if site.etag:
                self.send_header("ETag", site.etag)
            if site.says_length:
                self.send_header("Content-Length", str(len(site.content) - start + site.claimed_extra))
            self.end_headers()
            return start

        def do_GET(self) -> None:
            wanted, start = self.headers.get("Range"), 0
            if wanted and site.ranges and (self.headers["If-Range"] == site.etag or not site.honours_if_range):
                start = int(re.findall(r"\d+", wanted)[0])
            if start >= len(site.content):
                site.gets.append((wanted, 0))
                self.send_error(416)
                return
            body = site.content[self.answer(start) :]
            cut = site.cuts.pop(0) if site.cuts else None
            body = body[:cut]
            site.gets.append((wanted, len(body)))
            self.wfile.write(body)
            self.wfile.flush()
            if cut is not None:
                site.after_cut()
                if site.stall:
                    site.stall.wait(10)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        site.url = f"http://127.0.0.1:{server.server_port}/Selfie-dataset.tar.gz"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield site
        if site.stall:
            site.stall.set()
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download_module, "PAUSES", (0.0, 0.0))
    monkeypatch.setattr(download_module, "_CHUNK", 4096)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


def assert_whole(data: Path, count: int = 60, first: int = 0) -> None:
    names = [f"{first + index:05d}.jpg" for index in range(count)]
    assert sorted(path.name for path in (data / "images").iterdir()) == names
    assert (data / "images" / names[-1]).read_bytes() == jpeg(first + count - 1)
    assert (data / "selfie_dataset.txt").read_bytes() == TEXT
    assert sorted(path.name for path in data.iterdir()) == ["images", "selfie_dataset.txt"]
    assert kept(data) == {}, "the archive is not kept beside what was unpacked from it"


def kept(data: Path) -> dict[str, int]:
    """Names and sizes of what waits in the state folder."""
    found = {}
    for parent, _, names in os.walk(data.parent / ".state/fetch"):
        for name in names:
            # Files come and go while a download is under way.
            with contextlib.suppress(FileNotFoundError):
                found[name] = os.stat(os.path.join(parent, name)).st_size
    return found


def message_of(data: Path, url: str, replace: bool = False) -> str:
    """The one line that a failing fetch ends in."""
    with pytest.raises(UserError) as caught:
        fetch(data, yes=True, url=url, replace=replace)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_dataset_lands_in_the_form_of_the_data_contract(
    site: Site, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fetch(data, yes=True, url=site.url)
    assert_whole(data)
    printed = capsys.readouterr()
    assert "dvc add" in printed.out
    assert "dvc repro" in printed.out
    assert "60 images" in printed.out
    for part in (site.url, "research purposes only", "Kalayeh", str(data), "MB needed"):
        assert part in printed.err


def test_a_cut_connection_is_resumed_with_the_missing_bytes_only(site: Site, data: Path) -> None:
    site.cuts = [50_000, 20_000]
    fetch(data, yes=True, url=site.url)
    assert_whole(data)
    assert site.starts[0] == 0
    assert 0 < site.starts[1] <= 50_000
    assert site.starts[1] < site.starts[2] <= site.starts[1] + 20_000
    assert site.gets[2][1] == len(site.content) - site.starts[2]


def test_the_next_run_goes_on_where_the_last_one_gave_up(site: Site, data: Path) -> None:
    site.cuts = [30_000, 0, 0]
    assert "run the same command again" in message_of(data, site.url)
    assert not data.exists()
    partial = kept(data)["archive"]
    assert 0 < partial <= 30_000
    site.gets.clear()
    fetch(data, yes=True, url=site.url)
    assert_whole(data)
    assert site.gets == [(f"bytes={partial}-", len(site.content) - partial)]


def test_a_server_without_ranges_starts_again(site: Site, data: Path) -> None:
    site.ranges, site.cuts = False, [50_000]
    fetch(data, yes=True, url=site.url)
    assert_whole(data)
    assert [sent for _, sent in site.gets] == [50_000, len(site.content)]


def test_without_anything_to_tell_versions_apart_the_download_starts_again(site: Site, data: Path) -> None:
    site.etag, site.cuts = None, [50_000]
    fetch(data, yes=True, url=site.url)
    assert_whole(data)
    assert site.starts == [0, 0]


@pytest.mark.parametrize("honours_if_range", [True, False])
def test_a_file_that_changes_in_between_is_downloaded_from_its_start(
    site: Site, data: Path, honours_if_range: bool
) -> None:
    def change() -> None:
        site.content, site.etag = dataset(70, first=1000), '"two"'

    site.cuts, site.after_cut, site.honours_if_range = [50_000], change, honours_if_range
    fetch(data, yes=True, url=site.url)
    assert_whole(data, 70, first=1000)


def test_a_partial_file_longer_than_the_server_s_is_downloaded_afresh(site: Site, data: Path) -> None:
    site.cuts = [30_000, 0, 0]
    message_of(data, site.url)
    next((data.parent / ".state/fetch").glob("*/archive")).write_bytes(bytes(len(site.content) + 5))
    fetch(data, yes=True, url=site.url)
    assert_whole(data)


def test_a_length_that_is_never_reached_is_an_error(site: Site, data: Path) -> None:
    site.claimed_extra = 100
    message = message_of(data, site.url)
    assert "failed 3 times" in message
    assert not data.exists()


def test_a_missing_length_is_an_error(site: Site, data: Path) -> None:
    site.says_length = False
    assert "does not say how long" in message_of(data, site.url)


def test_a_silent_server_is_given_up_and_resumed(site: Site, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download_module, "TIMEOUT", (0.3, 0.3))
    site.cuts, site.stall = [50_000], threading.Event()
    fetch(data, yes=True, url=site.url)
    assert_whole(data)
    assert site.starts[1] > 0


def test_a_busy_server_is_asked_again(site: Site, data: Path) -> None:
    site.statuses = [503, 429]
    fetch(data, yes=True, url=site.url)
    assert_whole(data)


def test_a_server_that_only_knows_get_is_enough(site: Site, data: Path) -> None:
    site.knows_head = False
    fetch(data, yes=True, url=site.url)
    assert_whole(data)


def test_a_missing_file_is_named_with_the_server_s_status(site: Site, data: Path) -> None:
    site.statuses = [404, 404]
    message = message_of(data, site.url)
    assert "404" in message
    assert site.url in message


def test_no_network_is_one_line_that_says_why(data: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    message = message_of(data, f"http://127.0.0.1:{port}/a.tar.gz")
    assert f"127.0.0.1:{port}" in message
    assert "refused" in message
    assert "check the network" in message


def test_an_unknown_host_is_one_line_that_names_it(data: Path) -> None:
    message = message_of(data, "http://no-such-host.invalid/a.tar.gz")
    assert "no-such-host.invalid" in message
    assert "HTTPConnection" not in message


def flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 0xFF]) + content[middle + 1 :]


@pytest.mark.parametrize(
    "spoil",
    [
        flipped,
        lambda content: content[:-40_000],
        lambda content: content[:-8] + b"\0\0\0\0" + content[-4:],
        lambda content: gzip.compress(gzip.decompress(content)[:100_000], 1),
        lambda content: b"<html>Please log in</html>",
        lambda content: gzip.compress(b"no tar at all" * 1000),
        lambda content: tar_gz(member("Selfie-dataset/readme.txt", b"empty")),
    ],
    ids=["flipped byte", "truncated gzip", "wrong checksum", "truncated tar", "web page", "no tar", "no images"],
)
def test_a_corrupt_archive_is_deleted_and_can_be_fetched_again(
    site: Site, data: Path, spoil: Callable[[bytes], bytes]
) -> None:
    good = site.content
    site.content = spoil(good)
    assert "run the same command again" in message_of(data, site.url)
    assert not data.exists()
    assert kept(data) == {}
    site.content = good
    fetch(data, yes=True, url=site.url)
    assert_whole(data)


HOSTILE = {
    "parent": [member("Selfie-dataset/images/../../../evil.jpg", b"x")],
    "absolute": [member("/tmp/selfie-localizer-evil.jpg", b"x")],
    "backslash": [member("Selfie-dataset\\..\\evil.jpg", b"x")],
    "symlink": [member("Selfie-dataset/images/a", type=tarfile.SYMTYPE, linkname="/etc")],
    "hardlink": [member("Selfie-dataset/images/a.jpg", type=tarfile.LNKTYPE, linkname="../../evil.jpg")],
    "device": [member("Selfie-dataset/images/a.jpg", type=tarfile.CHRTYPE, devmajor=1, devminor=5)],
    "pipe": [member("Selfie-dataset/images/a.jpg", type=tarfile.FIFOTYPE)],
    "unwanted link": [member("elsewhere", type=tarfile.SYMTYPE, linkname="/etc")],
    "bomb": [member("Selfie-dataset/images/zeros.jpg", bytes(60_000_000))],
    "bomb in a header": [member("Selfie-dataset/images/" + "a" * 2_000_000 + ".jpg", b"x")],
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_archive_leaves_nothing_anywhere(site: Site, data: Path, kind: str) -> None:
    site.content = tar_gz(member("Selfie-dataset/images/0.jpg", jpeg(0)), *HOSTILE[kind])
    message = message_of(data, site.url)
    assert "is refused" in message
    assert len(message) < 500
    assert not data.exists()
    assert kept(data) == {}
    assert {path.name for path in data.parent.iterdir()} <= {".state"}
    assert not Path("/tmp/selfie-localizer-evil.jpg").exists()


def test_zeros_behind_the_last_member_are_a_bomb_too(tmp_path: Path) -> None:
    archive = tmp_path / "a.tar.gz"
    archive.write_bytes(gzip.compress(gzip.decompress(dataset(1)) + bytes(20_000_000), 1))
    with pytest.raises(BadArchiveError, match="unpacks to more than"):
        extract(archive, tmp_path, lambda path: None, Limits(small=10_000_000))


def test_too_many_members_are_a_bomb(tmp_path: Path) -> None:
    archive = tmp_path / "a.tar.gz"
    archive.write_bytes(dataset(10))
    with pytest.raises(BadArchiveError, match="more than 5 members"):
        extract(archive, tmp_path, lambda path: None, Limits(members=5))


def test_a_small_disk_is_noticed_before_the_download(site: Site, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10, 10, len(site.content)))
    message = message_of(data, site.url)
    assert "not enough disk space" in message
    assert site.gets == []


def test_a_disk_that_fills_up_keeps_what_was_downloaded(
    site: Site, data: Path, run_python: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    script = """
import resource, sys
from pathlib import Path
from selfie_localizer.acquire import download
from selfie_localizer.acquire.fetch import fetch
from selfie_localizer.errors import UserError
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
try:
    fetch(Path(sys.argv[1]), yes=True, url=sys.argv[2])
except UserError as error:
    print(error)
"""
    result = run_python(script, str(data), site.url)
    assert "no space left" in result.stdout, result.stderr
    assert not data.exists()
    partial = kept(data)["archive"]
    assert 0 < partial <= 60_000
    site.gets.clear()
    fetch(data, yes=True, url=site.url)
    assert_whole(data)
    assert site.starts == [partial]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, which Linux has")
def test_a_full_device_is_one_line(site: Site, data: Path) -> None:
    site.cuts = [30_000, 0, 0]
    message_of(data, site.url)
    partial = next((data.parent / ".state/fetch").glob("*/archive"))
    partial.unlink()
    partial.symlink_to("/dev/full")
    assert "no space left" in message_of(data, site.url)


def old_content(data: Path) -> None:
    (data / "images").mkdir(parents=True)
    (data / "images/mine.jpg").write_bytes(jpeg(7))


def test_a_folder_that_holds_something_is_refused_before_any_network(site: Site, data: Path) -> None:
    old_content(data)
    message = message_of(data, site.url)
    assert "--replace" in message
    assert site.gets == []
    assert [path.name for path in data.rglob("*.jpg")] == ["mine.jpg"]


def test_an_empty_folder_is_filled(site: Site, data: Path) -> None:
    data.mkdir()
    fetch(data, yes=True, url=site.url)
    assert_whole(data)


def test_replace_swaps_the_whole_folder(site: Site, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old_content(data)
    fetch(data, yes=True, url=site.url, replace=True)
    assert_whole(data)
    assert "will be deleted" in capsys.readouterr().err
    assert not (data.parent / ".state/fetch-replaced").exists()


@pytest.mark.parametrize("spoil", [flipped, lambda _: tar_gz(*HOSTILE["symlink"])], ids=["corrupt", "hostile"])
def test_replace_keeps_the_old_folder_when_the_new_one_fails(
    site: Site, data: Path, spoil: Callable[[bytes], bytes]
) -> None:
    old_content(data)
    site.content = spoil(site.content)
    message_of(data, site.url, replace=True)
    assert [path.name for path in data.rglob("*.*")] == ["mine.jpg"]


def test_a_swap_that_was_killed_between_its_renames_is_undone(site: Site, data: Path) -> None:
    (data.parent / ".state").mkdir()
    old_content(data)
    data.rename(data.parent / ".state/fetch-replaced")
    assert "--replace" in message_of(data, site.url)
    assert (data / "images/mine.jpg").read_bytes() == jpeg(7)


def test_a_link_in_the_place_of_the_folder_is_refused(site: Site, data: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    data.symlink_to(tmp_path / "elsewhere")
    assert "not a folder of its own" in message_of(data, site.url, replace=True)


def test_without_a_terminal_it_needs_yes(site: Site, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    with pytest.raises(UsageError, match="--yes") as caught:
        fetch(data, url=site.url)
    assert caught.value.exit_code == 2
    assert list(data.parent.iterdir()) == []


@pytest.mark.parametrize(("answer", "agreed"), [("y", True), ("YES", True), ("", False), ("no", False)])
def test_on_a_terminal_it_asks(
    site: Site, data: Path, monkeypatch: pytest.MonkeyPatch, answer: str, agreed: bool
) -> None:
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "w") as keyboard, os.fdopen(theirs) as terminal:
        monkeypatch.setattr("sys.stdin", terminal)
        keyboard.write(answer + "\n")
        keyboard.flush()
        if agreed:
            fetch(data, url=site.url)
            assert_whole(data)
        else:
            with pytest.raises(UserError, match="nothing was downloaded"):
                fetch(data, url=site.url)
            assert site.gets == []


def test_ctrl_c_keeps_what_has_arrived_and_ends_with_130(
    site: Site, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt() -> None:
        deadline = time.monotonic() + 5
        while not kept(data).get("archive") and time.monotonic() < deadline:
            time.sleep(0.01)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    site.cuts, site.stall, site.after_cut = [50_000], threading.Event(), interrupt
    monkeypatch.setattr(fetch, "__defaults__", (False, False, site.url))
    monkeypatch.chdir(data.parent)
    with pytest.raises(SystemExit) as caught:
        main(["fetch", "--yes"])
    assert caught.value.code == 130
    assert "are kept in" in capsys.readouterr().err
    assert kept(data)["archive"] > 0


def test_two_at_once_do_not_collide(site: Site, data: Path) -> None:
    other = multiprocessing.get_context("spawn").Process(target=fetch, args=(data, False, True, site.url))
    other.start()
    # Whoever comes second finds the folder filled and is refused.
    with contextlib.suppress(UserError):
        fetch(data, yes=True, url=site.url)
    other.join()
    assert_whole(data)
    assert sum(sent for _, sent in site.gets) == len(site.content)


def test_the_number_of_images_is_compared_with_the_publication(
    site: Site, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fetch_module, "DATASET_URL", site.url)
    fetch(data, yes=True, url=site.url)
    assert "holds 60 images, not the 46,836" in capsys.readouterr().err
