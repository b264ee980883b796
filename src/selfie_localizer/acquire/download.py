"""Downloads one file over HTTP so that a cut connection, a kill or a full disk costs nothing that has arrived."""

import json
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import HTTPError, IncompleteRead

from selfie_localizer import files
from selfie_localizer.errors import UserError
from selfie_localizer.progress import Progress, say

MB = 1_000_000
TIMEOUT = (10.0, 60.0)
"""Seconds to wait for a connection, and for the next bytes."""
PAUSES = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Seconds to wait before each further attempt; a whole megabyte received starts the series again."""
_CHUNK = 1 << 18


class _CutError(Exception):
    """An attempt ended early for a reason that may pass."""


class Download:
    """A file on its way; `folder` keeps what has arrived and what the server said about it.

    Args:
        url: Where the file is, over http or https.
        folder: Holds the partial file between attempts; nobody else may use it meanwhile.
    """

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.path = folder / "archive"
        self._notes = folder / "archive.json"
        self._session = requests.Session()
        # Ranges count the bytes of the file itself, so no encoding may come between.
        self._session.headers.update({"Accept-Encoding": "identity", "User-Agent": "selfie-localizer"})

    @property
    def received(self) -> int:
        """Bytes that have arrived so far."""
        return self.path.stat().st_size if self.path.exists() else 0

    @property
    def complete(self) -> bool:
        """Whether every byte that the server announced has arrived."""
        return self.received > 0 and self.received == self._note("length")

    def size(self) -> int | None:
        """Asks the server for the length of the file in bytes; None if it does not answer such questions.

        Raises:
            UserError: There is no network, or the server has no such file.
        """
        if self.complete:
            return self.received
        try:
            response = self._session.head(self.url, timeout=TIMEOUT, allow_redirects=True)
            # Some servers know GET alone.
            if response.status_code in (403, 405, 501):
                return None
            self._check(response)
        except (_CutError, requests.RequestException) as error:
            raise UserError(
                f"cannot download from {urlsplit(self.url).netloc} ({_why(error)}); "
                "check the network and run the same command again"
            ) from None
        return _number(response.headers.get("Content-Length"))

    def run(self) -> Path:
        """Downloads what is missing and returns the path of the complete file.

        Goes on from the partial file by an HTTP range if the file on the server is still the same one (RFC 9110,
        `Range` with `If-Range`); starts again if it has changed or the server knows no ranges.

        Raises:
            UserError: The server has no such file, does not say its length, or the connection keeps being cut.
            OSError: The file cannot be written; what was written stays.
        """
        failures = 0
        while not self.complete:
            before = self.received
            try:
                self._attempt()
            except (_CutError, requests.RequestException, HTTPError) as error:
                if self.received - before >= MB:
                    failures = 0
                reason = _why(error)
                if failures == len(PAUSES):
                    raise UserError(
                        f"the download of {self.url} failed {failures + 1} times ({reason}); "
                        f"{self.received / MB:,.1f} MB are kept, run the same command again to go on"
                    ) from None
                say(f"download: {reason}; next attempt in {PAUSES[failures]:.0f} s")
                time.sleep(PAUSES[failures])
                failures += 1
        return self.path

    def discard(self) -> None:
        """Deletes what has arrived."""
        self.path.unlink(missing_ok=True)
        self._notes.unlink(missing_ok=True)

    def _attempt(self) -> None:
        start, validator = self.received, self._note("validator")
        headers = {"Range": f"bytes={start}-", "If-Range": validator} if start and validator else {}
        with self._session.get(self.url, headers=headers, stream=True, timeout=TIMEOUT) as response:
            if headers and response.status_code in (206, 416):
                if not self._continues(response, start):
                    self.discard()
                    raise _CutError("the server's file is no longer the one of the partial download, which was deleted")
            else:
                self._check(response)
                self._begin(response)
            self._receive(response)
        if not self.complete:
            raise _CutError(f"the server sent {self.received:,} of {self._note('length'):,} bytes")

    def _continues(self, response: requests.Response, start: int) -> bool:
        """Says whether the answer is the rest of the file whose first `start` bytes are here."""
        length = self._note("length")
        if start >= length or response.headers.get("Content-Range") != f"bytes {start}-{length - 1}/{length}":
            return False
        body = _number(response.headers.get("Content-Length"))
        if response.status_code != 206 or body not in (None, length - start):
            return False
        return _validator(response.headers) in (None, self._note("validator"))

    def _begin(self, response: requests.Response) -> None:
        length = _number(response.headers.get("Content-Length"))
        if not length:
            raise UserError(f"{self.url}: the server does not say how long the file is, so it cannot be checked")
        self.path.write_bytes(b"")
        files.write_json(self._notes, {"length": length, "validator": _validator(response.headers)})

    def _receive(self, response: requests.Response) -> None:
        length, received = self._note("length"), self.received
        with (
            self.path.open("ab") as file,
            Progress("download", total=length // MB, done=received // MB, unit="MB") as progress,
        ):
            # Straight from the wire: some servers call a .tar.gz an encoding, which requests would then undo.
            for chunk in response.raw.stream(_CHUNK, decode_content=False):
                file.write(chunk)
                received += len(chunk)
                progress.update(received // MB - progress.done)

    def _check(self, response: requests.Response) -> None:
        if self.url.startswith("https:") and not response.url.startswith("https:"):
            raise UserError(f"{self.url} leads to {response.url}, which is not encrypted; nothing was downloaded")
        status = f"{response.status_code} {response.reason}"
        if response.status_code == 429 or response.status_code >= 500:
            raise _CutError(f"the server answered {status}")
        if response.status_code != 200:
            raise UserError(f"{self.url}: the server answered {status}; nothing was downloaded")

    def _note(self, name: str) -> Any:
        try:
            return json.loads(self._notes.read_text())[name]
        except FileNotFoundError:
            return None


def _validator(headers: Mapping[str, str]) -> str | None:
    """Returns what tells one version of the file from another; a weak ETag may not be used with ranges."""
    tag = headers.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else headers.get("Last-Modified")


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and re.fullmatch(r"\d{1,18}", text) else None


def _why(error: BaseException) -> str:
    """Returns the innermost reason of a nest of network errors, in one line."""
    while True:
        if isinstance(error, IncompleteRead):
            return f"the connection was cut {error.expected:,} bytes before the end"
        inner = (getattr(error, "reason", None), *error.args, error.__cause__)
        deeper = next((each for each in inner if isinstance(each, Exception)), None)
        if deeper is None:
            break
        error = deeper
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split())
