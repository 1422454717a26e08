"""A corpus in shards: plain tar files that are read from the beginning to the end, and a manifest that is their index.

    corpus/shard-00000.tar      000000000.flac, 000000000.json, 000000000.txt, 000000001.flac, ...
    corpus/manifest.jsonl       {"id": "a1", "audio": "shard-00000.tar:512:32044", "duration_s": 1.5, "text": ...}

The sound of an utterance is the file as it was, or a cut from a longer recording as FLAC; the JSON is its line of the
manifest, and the text what was said. This is also the form that WebDataset reads.
"""

import io
import json
import os
import re
import tarfile
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import soundfile
from tqdm import tqdm

from asr import manifest, remote
from asr.errors import InputError
from asr.features import audio
from asr.features.mixing import Mixer
from asr.files import atomic_write, keep_inputs, refuse_foreign
from asr.fingerprints import part_of, version_of_shard
from asr.locks import locked
from asr.manifest import Utterance
from asr.members import HEADER, Member, forget, member_of, name_of, read
from asr.remote import is_remote

MANIFEST, SET_ASIDE, NAME = "manifest.jsonl", "set_aside.jsonl", "shard-{:05d}.tar"
_SHARD = re.compile(r"shard-\d{5,}\.tar")
COVERED = 0.9  # of a recording: one that is longer is cut


@dataclass(frozen=True)
class Packed:
    utterances: int
    shards: int
    aside: dict[str, str]  # id -> why


def pack(source: str, folder: Path, place: str | None, most_bytes: float, seed: int, channel: int | None) -> Packed:
    """Writes the utterances of a manifest, in an order drawn by `seed`, into shards of at most `most_bytes` bytes, or
    of one utterance.

    The shards go to `folder` or to `place`, a folder or the URL of an object store; the manifest to `folder`. What
    cannot be read is left out and told. Raises InputError if nothing is left, if an utterance has stored features, and
    if one of the folders holds what is not of an earlier call.
    """
    utterances = manifest.read(source)
    if stored := next((u for u in utterances if u.audio is None), None):
        raise InputError(f"utterance '{stored.id}' of {source} has stored features; shards hold sound")
    keep_inputs([folder / MANIFEST], [source])
    refuse_foreign(folder, (MANIFEST, SET_ASIDE, "shard-*.tar"), "asr data shard")
    here = os.path.abspath(folder)
    place = place.rstrip("/") if place and is_remote(place) else os.path.abspath(place or folder)
    order = np.random.default_rng(seed).permutation(len(utterances))
    with locked(folder):
        before = _shards_in(place)
        if used := next((u for u in utterances if part_of(u.audio or "")[0] in before), None):
            raise InputError(f"utterance '{used.id}' of {source} is read from {place}; name another folder")
        _take(here, place, before)
        (folder / MANIFEST).unlink(missing_ok=True)  # the shards of before are replaced, one after the other
        writer = _Writer(place, most_bytes, Counter(u.audio for u in utterances), channel)
        found = list(writer.write([utterances[i] for i in order]))
        if not found:
            first, why = next(iter(writer.aside.items()))
            raise InputError(f"no utterance of {source} can be read; the first is {first}: {why}")
        for stale in (before | _shards_in(here)) - writer.written:
            remote.delete([stale]) if is_remote(stale) else os.unlink(stale)
        with atomic_write(folder / SET_ASIDE) as file:
            file.writelines(json.dumps({"id": i, "why": w}, ensure_ascii=False) + "\n" for i, w in writer.aside.items())
        manifest.write(folder / MANIFEST, found)
    return Packed(len(found), len(writer.written), writer.aside)


def _shards_in(place: str) -> set[str]:
    """The paths or URLs of the shards in a folder, as a manifest names them."""
    if is_remote(place):
        return {url for url in remote.listed(f"{place}/") if _SHARD.fullmatch(url.removeprefix(f"{place}/"))}
    return {str(path) for path in Path(place).glob("*") if _SHARD.fullmatch(path.name)}


def _take(folder: str, place: str, there: set[str]) -> None:
    """Notes in `folder` that the shards in another place are its own. Raises InputError if others are there already."""
    note = Path(folder, ".place")
    is_own = place == folder or (note.exists() and note.read_text(encoding="utf-8") == place)
    if there and not is_own:
        raise InputError(f"{place} holds tar files of another corpus than {folder}, such as "
                         f"{os.path.basename(min(there))}; set tars= to another folder, or delete them")  # fmt: skip
    with atomic_write(note) as file:
        file.write(place)


class _Writer:
    """`uses`: how many utterances are cut from each recording; `written`: the shards, as a manifest names them."""

    def __init__(self, place: str, most_bytes: float, uses: Counter[str | None], channel: int | None):
        self.place, self.most_bytes, self.uses, self.channel = place, most_bytes, uses, channel
        self.written: set[str] = set()
        self.aside: dict[str, str] = {}

    def write(self, utterances: Sequence[Utterance]) -> Iterator[Utterance]:
        """The utterances with their places."""
        samples = self._samples(utterances)
        sample = next(samples, None)
        while sample is not None:
            name = f"{self.place}/{NAME.format(len(self.written))}"
            with _opened(name) as tar:
                number = 0
                while sample is not None and (number == 0 or _end(tar.offset + _size(sample)) <= self.most_bytes):
                    offset = tar.offset + HEADER
                    for ending, content in sample.files.items():
                        _add(tar, f"{number:09d}{ending}", content)
                    member = Member(name, offset, len(next(iter(sample.files.values()))))
                    yield replace(sample.utterance, audio=str(member))
                    number, sample = number + 1, next(samples, None)
            self.written.add(name)
            forget()
            version_of_shard.cache_clear()

    def _samples(self, utterances: Sequence[Utterance]) -> Iterator["_Sample"]:
        """Those that can be read; only one is in memory at a time."""
        for u in tqdm(utterances, "shards", unit="utt", leave=False):
            try:
                u, ending, sound = self._sound(u)
            except (InputError, OSError) as e:
                self.aside[u.id] = str(e)
                continue
            fields = {name: value for name, value in vars(u).items() if value is not None and name not in _OF_INDEX}
            files = {ending: sound, ".json": json.dumps(u.extra | fields, ensure_ascii=False).encode()}
            yield _Sample(u, files if u.text is None else files | {".txt": u.text.encode()})

    def _sound(self, u: Utterance) -> tuple[Utterance, str, bytes]:
        """The utterance as the manifest will have it, and the ending and content of its sound."""
        assert u.audio
        about = audio.info(u.audio)
        part_s = about.duration_s - u.start_s if u.duration_s is None else u.duration_s
        channel = self.channel if u.channel is None else u.channel
        Mixer(u.audio, about.channels, channel)  # refuses a channel that is not there
        if self.uses[u.audio] == 1 and part_s >= COVERED * about.duration_s:
            return replace(u, duration_s=part_s, channel=channel), _ending(u.audio), _content(u.audio)
        x = audio.load(u.audio, u.start_s, u.duration_s, about.sample_rate_hz, channel=channel)  # (T,)
        is_exact = (np.round(x * 32768) == x * 32768).all() and x.max(initial=0) < 1
        file = io.BytesIO()
        soundfile.write(file, x, about.sample_rate_hz, format="FLAC", subtype="PCM_16" if is_exact else "PCM_24")
        own = None if channel is None else 0  # the only one: data.channel must not choose again
        return replace(u, start_s=0.0, duration_s=part_s, channel=own), ".flac", file.getvalue()


@dataclass(frozen=True)
class _Sample:
    utterance: Utterance
    files: dict[str, bytes]  # ending -> content; the sound comes first


_OF_INDEX = ("audio", "features", "extra")


@contextmanager
def _opened(name: str) -> Iterator[tarfile.TarFile]:
    """A new tar file. A reader sees the one of before until this one is complete."""
    with tempfile.TemporaryDirectory() if is_remote(name) else nullcontext() as folder:
        path = os.path.join(folder, "shard.tar") if folder else name
        with atomic_write(path, "wb") as file, tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            yield tar
        if folder:
            remote.upload(path, name)


def _size(sample: _Sample) -> int:
    """The bytes in a tar file: a header for each member, whose content is filled up to whole blocks."""
    return sum(HEADER + -(-len(content) // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE for content in sample.files.values())


def _end(offset: int) -> int:
    """The size of a tar file whose members end at `offset`: two empty blocks, filled up to a whole record."""
    return -(-(offset + 2 * tarfile.BLOCKSIZE) // tarfile.RECORDSIZE) * tarfile.RECORDSIZE


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)  # without a time, so that equal content gives equal files
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def _ending(path: str) -> str:
    """Of a file or an object, or of the name that a member has in its tar file; none that is another member's."""
    ending = Path(name_of(member) if (member := member_of(path)) else path).suffix.lower()
    return "" if ending in (".json", ".txt") or len(ending) > 9 else ending


def _content(path: str) -> bytes:
    """The bytes of a file, an object or a member."""
    if member := member_of(path):
        return read(member)
    return remote.read(path) if is_remote(path) else Path(path).read_bytes()
