"""Downloads from a server on this machine: interrupted, resumed, damaged, unsafe."""

from __future__ import annotations

import hashlib
import io
import re
import shutil
import socket
import tarfile
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fixtures.corpus_trees import lines, pack, recording
from fixtures.errors import refused
from keyframe_asr.data.corpora import download as downloads
from keyframe_asr.data.corpora import speechocean762
from keyframe_asr.data.corpora.download import Archive, download, fetch, unpack
from keyframe_asr.data.corpora.listing import PartSize
from keyframe_asr.errors import ManifestError

SIZE = 300_000


class Server(ThreadingHTTPServer):
    """Serves files from memory; breaks connections off when told to.

    Attributes:
        files: content by path.
        ranges: whether byte ranges are served.
        cuts: after how many bytes the next connections break off, one each.
        errors: status codes of the next answers, before anything is served.
        asked: path and Range header of every request for content.
        answers_head: whether it answers HEAD requests.
        tells_size: whether it says how long a file is.
        delay: seconds before every answer.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.ranges = True
        self.cuts: list[int] = []
        self.errors: list[int] = []
        self.asked: list[tuple[str, str | None]] = []
        self.answers_head = True
        self.tells_size = True
        self.delay = 0.0

    def address(self, path: str = "") -> str:
        return f"http://127.0.0.1:{self.server_port}{path}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_HEAD(self) -> None:
        time.sleep(self.server.delay)
        content = self.server.files.get(self.path)
        if content is None or not self.server.answers_head:
            self.send_error(404 if content is None else 501)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()

    def do_GET(self) -> None:
        wanted = self.headers["Range"]
        self.server.asked.append((self.path, wanted))
        content = self.server.files.get(self.path)
        if self.server.errors or content is None:
            self.send_error(self.server.errors.pop(0) if self.server.errors else 404)
            return
        start = 0
        if wanted and self.server.ranges:
            start = int(re.fullmatch(r"bytes=(\d+)-0?", wanted)[1])  # type: ignore[index]
            if start >= len(content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206)
            whole = len(content) if self.server.tells_size else "*"
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{whole}")
        else:
            self.send_response(200)
        if self.server.tells_size:
            self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        cut = self.server.cuts.pop(0) if self.server.cuts else len(content)
        self.wfile.write(content[start : start + cut])

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as one:
        thread = threading.Thread(target=one.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield one
        one.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "PAUSE", 0.0)


@pytest.fixture
def content(server: Server) -> bytes:
    """A file that no compression makes smaller, at /file.bin."""
    made = np.random.default_rng(0).bytes(SIZE)
    server.files["/file.bin"] = made
    return made


def test_a_file_comes_in_one_piece(
    server: Server, content: bytes, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    partial = tmp_path / "file.bin.part"
    fetch(server.address("/file.bin"), partial)
    assert partial.read_bytes() == content
    assert server.asked == [("/file.bin", "bytes=0-")]
    printed = capfd.readouterr()
    assert printed.out == "" and "100%" in printed.err


def test_broken_connections_are_gone_on_with(
    server: Server, content: bytes, tmp_path: Path
) -> None:
    server.cuts = [100_000, 50_000, 0, 1]
    server.errors = [503, 429]
    partial = tmp_path / "file.bin.part"
    fetch(server.address("/file.bin"), partial)
    assert partial.read_bytes() == content
    ranges = [wanted for _, wanted in server.asked]
    assert ranges == [
        *("bytes=0-", "bytes=0-", "bytes=0-"),
        *("bytes=100000-", "bytes=150000-", "bytes=150000-", "bytes=150001-"),
    ]


def test_an_earlier_download_is_gone_on_with(
    server: Server, content: bytes, tmp_path: Path
) -> None:
    partial = tmp_path / "file.bin.part"
    partial.write_bytes(content[:123_456])
    for _ in range(2):
        fetch(server.address("/file.bin"), partial)
        assert partial.read_bytes() == content
    assert server.asked == [("/file.bin", "bytes=123456-")], "nothing is asked for when all is here"


def test_too_much_is_thrown_away(server: Server, content: bytes, tmp_path: Path) -> None:
    partial = tmp_path / "file.bin.part"
    partial.write_bytes(content + b"more")
    fetch(server.address("/file.bin"), partial)
    assert partial.read_bytes() == content


def test_without_ranges_it_starts_anew(server: Server, content: bytes, tmp_path: Path) -> None:
    server.ranges = False
    server.cuts = [200_000]
    partial = tmp_path / "file.bin.part"
    partial.write_bytes(b"x" * 1000)
    fetch(server.address("/file.bin"), partial)
    assert partial.read_bytes() == content


def test_without_an_announced_size_it_ends_where_the_server_does(
    server: Server, content: bytes, tmp_path: Path
) -> None:
    server.answers_head = server.tells_size = False
    partial = tmp_path / "file.bin.part"
    partial.write_bytes(content[:1000])
    for _ in range(2):
        fetch(server.address("/file.bin"), partial)
        assert partial.read_bytes() == content
    ranges = [wanted for _, wanted in server.asked if wanted != "bytes=0-0"]
    assert ranges == ["bytes=1000-", f"bytes={SIZE}-"]


@pytest.mark.parametrize("ranges", [True, False])
def test_a_server_that_refuses_head_tells_the_size_all_the_same(
    ranges: bool, server: Server, content: bytes, tmp_path: Path
) -> None:
    server.answers_head, server.ranges = False, ranges
    server.cuts = [SIZE, 100_000, SIZE]  # the first answer is that to the question for the size
    partial = tmp_path / "file.bin.part"
    fetch(server.address("/file.bin"), partial)
    assert partial.read_bytes() == content


def test_a_server_that_never_finishes_is_given_up(
    server: Server, content: bytes, tmp_path: Path
) -> None:
    server.cuts = [1000] + [0] * 50
    partial = tmp_path / "file.bin.part"
    address = server.address("/file.bin")
    with refused(ManifestError, address, "1000 bytes"):
        fetch(address, partial)
    assert len(server.asked) == downloads.ATTEMPTS
    server.cuts = []
    fetch(address, partial)
    assert partial.read_bytes() == content


def test_a_silent_server_is_given_up(
    server: Server, content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "TIMEOUT", 0.1)
    monkeypatch.setattr(downloads, "ATTEMPTS", 2)
    server.delay = 0.4
    with refused(ManifestError, "/file.bin: "):
        fetch(server.address("/file.bin"), tmp_path / "file.bin.part")
    assert socket.getdefaulttimeout() is None


def test_refusals_are_told(server: Server, tmp_path: Path) -> None:
    with refused(ManifestError, "/none: ", 404):
        fetch(server.address("/none"), tmp_path / "none.part")
    assert server.asked == []
    with Server() as closed:
        address = closed.address("/file.bin")
    with refused(ManifestError, f"{address}: "):
        fetch(address, tmp_path / "file.part")
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_written_is_told(
    server: Server, content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "folder.part").mkdir()
    with refused(ManifestError, "folder.part: "):
        fetch(server.address("/file.bin"), tmp_path / "folder.part")
    usage = shutil.disk_usage(tmp_path)._replace(free=SIZE - 1)
    monkeypatch.setattr(downloads.shutil, "disk_usage", lambda _: usage)
    with refused(ManifestError, "file.bin.part: ", "0.0 GB"):
        fetch(server.address("/file.bin"), tmp_path / "file.bin.part")


@pytest.fixture
def corpus(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Archive:
    """A speechocean762 of two speakers on the server, with its checksum known."""
    tree = tmp_path / "tree"
    root = tree / "speechocean762"
    for part, name in (("train", "000010011"), ("test", "000020011")):
        speaker = name[1:5]
        recording(root / f"WAVE/SPEAKER{speaker}/{name}.WAV", seconds=2)
        lines(root / part / "text", f"{name}\tYES")
        lines(root / part / "wav.scp", f"{name}\tWAVE/SPEAKER{speaker}/{name}.WAV")
        lines(root / part / "utt2spk", f"{name}\t{speaker}")
    packed = pack(tmp_path / "packed.tar.gz", tree, "speechocean762").read_bytes()
    server.files["/101/speechocean762.tar.gz"] = packed
    md5 = hashlib.md5(packed).hexdigest()
    archive = Archive(101, "speechocean762.tar.gz", md5, "speechocean762")
    monkeypatch.setitem(downloads.ARCHIVES, "speechocean762", (archive,))
    sizes = dict.fromkeys(("train", "test"), PartSize(1, 1))
    monkeypatch.setattr(speechocean762, "EXPECTED", sizes)
    return archive


def test_a_corpus_is_downloaded_once_and_read(
    server: Server, corpus: Archive, tmp_path: Path
) -> None:
    folder = tmp_path / "new" / "here"
    server.cuts = [10_000]
    for _ in range(2):
        assert download("speechocean762", folder, server=server.address()) == folder
    assert [wanted for _, wanted in server.asked] == ["bytes=0-", "bytes=10000-"]
    assert sorted(path.name for path in folder.iterdir()) == [
        ".speechocean762.tar.gz.unpacked",
        "speechocean762",
    ]
    listing = speechocean762.read(folder)
    assert [one.id for one in listing.splits["test"]] == ["000020011"]


def test_a_wrong_checksum_is_told_and_mended(
    server: Server, corpus: Archive, tmp_path: Path
) -> None:
    folder = tmp_path / "here"
    path = f"/101/{corpus.name}"
    right = server.files[path]
    server.files[path] = right[:-1] + bytes([right[-1] ^ 1])
    with refused(ManifestError, corpus.name, corpus.md5):
        download("speechocean762", folder, server=server.address())
    assert not list(folder.iterdir())
    server.files[path] = right
    download("speechocean762", folder, server=server.address())
    assert (folder / "speechocean762/train/text").is_file()


def test_an_archive_that_was_there_stays(server: Server, corpus: Archive, tmp_path: Path) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    archive = folder / corpus.name
    archive.write_bytes(server.files[f"/101/{corpus.name}"][:-5])
    with refused(ManifestError, f"{archive}: "):
        download("speechocean762", folder, server=server.address())
    archive.write_bytes(server.files[f"/101/{corpus.name}"])
    download("speechocean762", folder, server=server.address())
    assert archive.is_file()
    assert (folder / "speechocean762/test/text").is_file()
    assert server.asked == []


def test_parts_of_librispeech_come_on_their_own(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archives = []
    for part in ("dev-clean", "test-clean"):
        lines(tmp_path / "tree" / "LibriSpeech" / part / "1/2/1-2.trans.txt", "1-2-0000 YES")
        lines(tmp_path / "tree" / "LibriSpeech" / "README.TXT", part)
        members = (f"LibriSpeech/{part}", "LibriSpeech/README.TXT")
        packed = pack(tmp_path / f"{part}.tgz", tmp_path / "tree", *members).read_bytes()
        server.files[f"/12/{part}.tar.gz"] = packed
        archives.append(Archive(12, f"{part}.tar.gz", None, f"LibriSpeech/{part}"))
    monkeypatch.setitem(downloads.ARCHIVES, "librispeech", tuple(archives))
    folder = tmp_path / "here"
    download("librispeech", folder, parts=["test-clean"], server=server.address())
    assert not (folder / "LibriSpeech/dev-clean").exists()
    download("librispeech", folder, server=server.address())
    assert [path for path, _ in server.asked] == ["/12/test-clean.tar.gz", "/12/dev-clean.tar.gz"]
    assert (folder / "LibriSpeech/dev-clean/1/2/1-2.trans.txt").is_file()
    with refused(ManifestError, "'dev'", "dev-clean, test-clean"):
        download("librispeech", folder, parts=["dev"])
    with refused(ManifestError, "'aishell2'", "aishell1"):
        download("aishell2", folder)


def test_addresses_and_checksums_are_well_formed() -> None:
    assert set(downloads.ARCHIVES) == {
        "aishell1",
        "thchs30",
        "librispeech",
        "mini_librispeech",
        "speechocean762",
    }
    sums = [archive.md5 for archives in downloads.ARCHIVES.values() for archive in archives]
    known = [md5 for md5 in sums if md5 is not None]
    assert len(set(known)) == len(sums) - 1 == 11
    assert all(re.fullmatch("[0-9a-f]{32}", md5) for md5 in known)


@pytest.mark.parametrize("name", ["../outside.txt", "inside/../../outside.txt"])
def test_archives_cannot_write_elsewhere(name: str, tmp_path: Path) -> None:
    archive = tmp_path / "bad.tar"
    with tarfile.open(archive, "w") as content:
        for member in ("fine.txt", name):
            entry = tarfile.TarInfo(member)
            entry.size = 1
            content.addfile(entry, io.BytesIO(b"x"))
    folder = tmp_path / "folder"
    with refused(ManifestError, "bad.tar: "):
        unpack(archive, folder)
    assert not list(folder.iterdir())
    assert not (tmp_path / "outside.txt").exists()


def test_links_cannot_lead_elsewhere(tmp_path: Path) -> None:
    archive = tmp_path / "bad.tar"
    with tarfile.open(archive, "w") as content:
        entry = tarfile.TarInfo("link")
        entry.type, entry.linkname = tarfile.SYMTYPE, str(tmp_path)
        content.addfile(entry)
    with refused(ManifestError, "bad.tar: "):
        unpack(archive, tmp_path / "folder")
    assert not list((tmp_path / "folder").iterdir())


@pytest.mark.parametrize("packing", ["", "gz", "bz2", "xz"])
def test_a_damaged_archive_is_told(packing: str, tmp_path: Path) -> None:
    lines(tmp_path / "tree/a.txt", *map(str, range(10_000)))
    archive = tmp_path / "a.tar"
    with tarfile.open(archive, f"w:{packing}") as file:
        file.add(tmp_path / "tree/a.txt", "a.txt")
    content = archive.read_bytes()
    middle = len(content) // 2
    for damaged in (
        content[:middle],
        content[:5],
        b"",
        b"x" * 2000,
        content[:middle] + bytes(8) + content[middle + 8 :] if packing else b"x" + content[1:],
    ):
        archive.write_bytes(damaged)
        with refused(ManifestError, f"{archive}: "):
            unpack(archive, tmp_path / "folder")
        assert not list((tmp_path / "folder").iterdir())


def test_a_mistake_of_the_program_keeps_its_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = pack(tmp_path / "a.tar.gz", lines(tmp_path / "tree/a.txt", "a").parent, "a.txt")
    monkeypatch.setattr(downloads, "_move_into", None)
    with pytest.raises(TypeError):
        unpack(archive, tmp_path / "folder")


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    archive = pack(tmp_path / "a.tar.gz", lines(tmp_path / "tree/a.txt", "a").parent, "a.txt")
    lines(tmp_path / "folder", "a file where the folder should be")
    with refused(ManifestError, "a.tar.gz: ", tmp_path / "folder"):
        unpack(archive, tmp_path / "folder")
