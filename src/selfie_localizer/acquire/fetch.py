"""Downloads the UCF Selfie dataset into `data/`, whole or not at all."""

import errno
import shutil
import sys
from pathlib import Path, PurePosixPath

from selfie_localizer import files
from selfie_localizer.acquire.download import MB, Download
from selfie_localizer.acquire.extract import BadArchiveError, extract
from selfie_localizer.errors import UsageError, UserError
from selfie_localizer.photos.listing import SUFFIXES
from selfie_localizer.progress import say
from selfie_localizer.state import STATE, locked_state

DATASET_URL = "https://www.crcv.ucf.edu/data/Selfie/Selfie-dataset.tar.gz"
PUBLISHED_IMAGES = 46_836
TERMS = (
    "the dataset is for research purposes only; whoever uses it cites Kalayeh et al., "
    '"How to Take a Good Selfie?", ACM Multimedia 2015; see https://www.crcv.ucf.edu/data/Selfie/'
)
# JPEGs hardly compress; the rest is for what small files waste on a disk.
_UNPACKED_PER_BYTE = 1.5
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def fetch(data: Path, replace: bool = False, yes: bool = False, url: str = DATASET_URL) -> None:
    """Downloads the dataset, checks it, and puts it into `data` as `images/` and `selfie_dataset.txt`.

    The archive and the unpacked files stay in `.state/fetch/` beside `data` until they are complete. An interrupted
    download goes on where it stopped; `data` changes only by a rename at the very end.

    Args:
        data: The folder to fill.
        replace: Swap what `data` holds for the dataset; otherwise `data` has to be absent or empty.
        yes: Do not ask.
        url: A gzipped tar archive with `Selfie-dataset/images/` and `Selfie-dataset/selfie_dataset.txt`.

    Raises:
        UsageError: There is no terminal to ask on, and `yes` is not given.
        UserError: `data` holds something, the answer is no, there is no network or no disk space, the server has no
            such file, or the archive is corrupt or hostile.
    """
    if not yes and not (sys.stdin and sys.stdin.isatty()):
        raise UsageError("fetch asks before it downloads, and there is no terminal to ask on; add --yes to agree")
    state = data.parent / STATE
    try:
        with locked_state("fetch", files.digest(url), state) as folder:
            _fetch(data, state / "fetch-replaced", folder, replace, yes, url)
    except OSError as error:
        if error.errno in _FULL:
            raise UserError(
                f"no space left on the disk of {state}; what was downloaded is kept in {state / 'fetch'}, "
                "make room and run the same command again to go on"
            ) from None
        raise UserError(f"fetch failed at {error.filename or data}: {error.strerror or error}") from None


def _fetch(data: Path, aside: Path, folder: Path, replace: bool, yes: bool, url: str) -> None:
    _finish_swap(data, aside)
    _check_target(data, folder, replace)
    download = Download(url, folder)
    unpacked = folder / "dataset"
    shutil.rmtree(unpacked, ignore_errors=True)
    try:
        _propose(data, folder, download)
        if not yes:
            _ask(data)
        archive = download.run()
        _check_space(folder, int(_UNPACKED_PER_BYTE * archive.stat().st_size))
        count = _unpack(download, unpacked)
        # Something else may have filled the folder in the meantime.
        _check_target(data, folder, replace)
    except BaseException as error:
        shutil.rmtree(unpacked, ignore_errors=True)
        if isinstance(error, KeyboardInterrupt) and download.received:
            say(f"fetch: {data} is unchanged; {_mb(download.received)} of the archive are kept in {folder}")
        raise
    _swap(unpacked, data, aside)
    download.discard()
    _finish_swap(data, aside)
    if url == DATASET_URL and count != PUBLISHED_IMAGES:
        say(f"fetch: the archive is sound but holds {count:,} images, not the {PUBLISHED_IMAGES:,} of the publication")
    print(
        f"{count:,} images are in {data / 'images'}. Next, type:\n"
        f"  dvc add {data}\n"
        "  dvc repro\n"
        f"To go back to the sample: git checkout {data}.dvc && dvc checkout {data}.dvc"
    )


def _check_target(data: Path, folder: Path, replace: bool) -> None:
    if data.is_symlink() or (data.exists() and not data.is_dir()):
        raise UserError(f"{data} is not a folder of its own; move it away first")
    if not data.exists():
        return
    if data.stat().st_dev != folder.stat().st_dev:
        raise UserError(
            f"{data} lies on another disk than {folder}, so it cannot be swapped at once; move it away first"
        )
    if not replace and any(data.iterdir()):
        raise UserError(f"{data} already holds something, and the dataset never mixes with it; --replace swaps it")


def _propose(data: Path, folder: Path, download: Download) -> None:
    """Says what will be downloaded and on which terms; raises a UserError if the disk is too small for it."""
    size, received = download.size(), download.received
    say(f"The UCF Selfie dataset: {PUBLISHED_IMAGES:,} selfies to annotate and to train on.")
    say(f"  from:  {download.url}")
    here = f", of which {_mb(received)} are here already" if received else ""
    say(f"  size:  {'not told by the server' if size is None else _mb(size)}{here}")
    say(f"  to:    {data.resolve()}")
    needed = 0
    if size is not None:
        needed = max(size - received, 0) + int(_UNPACKED_PER_BYTE * size)
        say(f"  disk:  about {_mb(needed)} needed, {_mb(shutil.disk_usage(folder).free)} free")
    say(f"  terms: {TERMS}")
    if data.exists() and any(data.iterdir()):
        say(f"  What {data} holds now will be deleted when the dataset is complete.")
    _check_space(folder, needed)


def _ask(data: Path) -> None:
    print("Download it? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise UserError(f"nothing was downloaded, and {data} is unchanged")


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise UserError(
            f"not enough disk space at {folder}: {_mb(needed)} needed, {_mb(free)} free; "
            "make room and run the same command again"
        )


def _unpack(download: Download, folder: Path) -> int:
    """Unpacks the archive and returns the number of images; deletes an archive that is good for nothing."""
    folder.mkdir()
    try:
        extract(download.path, folder, _place)
        count = sum(path.suffix.lower() in SUFFIXES for path in folder.glob("images/**/*"))
        if not count:
            raise BadArchiveError("holds no image in Selfie-dataset/images/")
    except BadArchiveError as error:
        download.discard()
        raise UserError(
            f"the archive from {download.url} {error}; it was deleted, run the same command again to download it afresh"
        ) from None
    return count


def _place(path: PurePosixPath) -> PurePosixPath | None:
    """Puts the archive's content where the data contract wants it; hidden files are litter of the archiver."""
    inside = path.parts[1:] if path.parts[:1] == ("Selfie-dataset",) else ()
    if any(part.startswith(".") for part in inside):
        return None
    if inside == ("selfie_dataset.txt",) or (inside[:1] == ("images",) and len(inside) > 1):
        return PurePosixPath(*inside)
    return None


def _swap(new: Path, data: Path, aside: Path) -> None:
    """Puts `new` in the place of `data`; what `data` held goes to `aside`."""
    if data.exists():
        data.rename(aside)
    try:
        new.rename(data)
    except OSError:
        if aside.exists():
            aside.rename(data)
        raise


def _finish_swap(data: Path, aside: Path) -> None:
    """Deletes what was swapped out, or puts it back if a kill came between the two renames."""
    if aside.exists() and not data.exists():
        aside.rename(data)
        say(f"fetch: {data} was put back after an interrupted swap")
    elif aside.exists():
        shutil.rmtree(aside)


def _mb(size: int) -> str:
    return f"{size / MB:,.1f} MB"
