"""Finds the recipes' corpora in the user's folder, or downloads them and checks their digest."""

import hashlib
import os
import tarfile
import urllib.error
import urllib.request
from pathlib import Path

from tqdm import tqdm

from asr.errors import InputError

TIMEOUT_S = 15
BLOCK_BYTES = 1 << 20


def find(name: str, root: str | None = None) -> Path | None:
    """The folder of the corpus `name`: below `root`, else $ASR_DATA, else a folder `shared/data` of a parent folder.

    The parents are those of the working directory, nearest first. None if no place has it. Raises InputError if `root`
    is given and lacks it; the other places are then not searched.
    """
    if root:
        if (Path(root) / name).is_dir():
            return Path(root) / name
        raise InputError(f"data.root={root} holds no folder '{name}'; name the folder above it, or leave data.root out")
    return next((place / name for place in places() if (place / name).is_dir()), None)


def places() -> list[Path]:
    """The folders of corpora: $ASR_DATA, then `shared/data` of each parent of the working directory."""
    given = os.environ.get("ASR_DATA")
    return [*([Path(given)] if given else []), *(parent / "shared" / "data" for parent in Path.cwd().parents)]


def fetch(url: str, digest: str, folder: Path) -> Path:
    """Download and unpack a tar archive below `folder`, once; returns `folder`.

    `digest` is "sha256:..." or "md5:...". An interrupted download is resumed, and an archive that lies in `folder` is
    not downloaded. Raises InputError if the source does not answer or the digest differs.
    """
    done = folder / ".complete"
    if not done.exists():
        archive = folder / url.rsplit("/", 1)[1]
        folder.mkdir(parents=True, exist_ok=True)
        if not archive.exists():  # put there by hand, where no network is
            download(url, archive)
        check_digest(archive, digest)
        with tarfile.open(archive) as tar:
            if hasattr(tarfile, "data_filter"):
                tar.extractall(folder, filter="data")
            else:  # an older Python; the digest guarantees the contents
                tar.extractall(folder)
        archive.unlink()
        done.touch()
    return folder


def download(url: str, path: Path) -> None:
    """Fetch `url` to `path` with a progress bar; continues a file that was cut off."""
    part = path.with_name(path.name + ".part")
    start = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
            if start and response.status != 206:  # not partial content: the server sends the whole file again
                start = 0
            total = start + int(response.headers.get("Content-Length", 0))
            bar = tqdm(total=total, initial=start, unit="B", unit_scale=True, desc=path.name)
            with bar, open(part, "ab" if start else "wb") as file:
                while block := response.read(BLOCK_BYTES):
                    file.write(block)
                    bar.update(len(block))
    except (OSError, urllib.error.URLError) as e:
        raise InputError(
            f"cannot download {url}: {e}; try again later, save it by other means as {path}, "
            "or give the corpus with data.root=..."
        ) from e
    os.replace(part, path)


def check_digest(path: Path, digest: str) -> None:
    """Delete `path` and raise InputError if its digest differs."""
    kind, expected = digest.split(":")
    found = hashlib.new(kind)
    with open(path, "rb") as file:
        while block := file.read(BLOCK_BYTES):
            found.update(block)
    if found.hexdigest() != expected:
        path.unlink()
        raise InputError(
            f"{path.name} has {kind} {found.hexdigest()}, expected {expected}; it is deleted: run again to download "
            f"it, or save it again as {path}"
        )
