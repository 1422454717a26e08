"""A corpus in shards: plain tar files that are read from the beginning to the end, and a manifest that is their index.

    corpus/shard-00000.tar      000000000.flac, 000000000.json, 000000000.txt, 000000001.flac, ...
    corpus/manifest.jsonl       {"id": "a1", "audio": "shard-00000.tar:512:32044", "duration_s": 1.5, "text": ...}

The sound of an utterance is the file as it was, or a cut from a longer recording as FLAC; the JSON is its line of the
manifest, and the text what was said. This is also the form that WebDataset reads.
"""

import io
import json
import os
import tarfile
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import soundfile
from tqdm import tqdm

from asr import manifest, remote
from asr.errors import InputError
from asr.features import audio
from asr.files import atomic_write, keep_inputs, refuse_foreign
from asr.fingerprints import part_of
from asr.locks import locked
from asr.manifest import Utterance
from asr.members import HEADER, Member, member_of, read
from asr.remote import is_remote

MANIFEST, SET_ASIDE, NAME = "manifest.jsonl", "set_aside.jsonl", "shard-{:05d}.tar"
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
    if the folder holds other files.
    """
    utterances = manifest.read(source)
    if stored := next((u for u in utterances if u.audio is None), None):
        raise InputError(f"utterance '{stored.id}' of {source} has stored features; shards hold sound")
    keep_inputs([folder / MANIFEST], [source])
    refuse_foreign(folder, (MANIFEST, SET_ASIDE, "shard-*.tar"), "asr data shard")
    order = np.random.default_rng(seed).permutation(len(utterances))
    with locked(folder):
        (folder / MANIFEST).unlink(missing_ok=True)  # the shards of before are replaced, one after the other
        writer = _Writer(place or str(folder), most_bytes, Counter(u.audio for u in utterances), channel)
        found = list(writer.write([utterances[i] for i in order]))
        if not found:
            first, why = next(iter(writer.aside.items()))
            raise InputError(f"no utterance of {source} can be read; the first is {first}: {why}")
        for stale in sorted(folder.glob("shard-*.tar")) if not place else ():
            if stale.name >= NAME.format(writer.count):
                stale.unlink()
        with atomic_write(folder / SET_ASIDE) as file:
            file.writelines(json.dumps({"id": i, "why": w}, ensure_ascii=False) + "\n" for i, w in writer.aside.items())
        manifest.write(folder / MANIFEST, found)
    return Packed(len(found), writer.count, writer.aside)


class _Writer:
    """`uses`: how many utterances are cut from each recording; `count`: the shards written."""

    def __init__(self, place: str, most_bytes: float, uses: Counter[str | None], channel: int | None):
        self.place, self.most_bytes, self.uses, self.channel = place.rstrip("/"), most_bytes, uses, channel
        self.count = 0
        self.aside: dict[str, str] = {}

    def write(self, utterances: Sequence[Utterance]) -> Iterator[Utterance]:
        """The utterances with their places."""
        shard: list[tuple[Utterance, str, bytes]] = []
        size = 0
        for u in tqdm(utterances, "shards", unit="utt", leave=False):
            try:
                sound = self._sound(u)
            except InputError as e:
                self.aside[u.id] = str(e)
                continue
            if shard and size + len(sound[2]) > self.most_bytes:
                yield from self._close(shard)
                shard, size = [], 0
            shard.append(sound)
            size += len(sound[2])
        if shard:
            yield from self._close(shard)

    def _sound(self, u: Utterance) -> tuple[Utterance, str, bytes]:
        """The utterance as the manifest will have it, and the ending and content of its sound."""
        assert u.audio
        about = audio.info(u.audio)
        part_s = about.duration_s - u.start_s if u.duration_s is None else u.duration_s
        if self.uses[u.audio] == 1 and part_s >= COVERED * about.duration_s:
            return replace(u, duration_s=part_s), Path(part_of(u.audio)[0]).suffix.lower(), _content(u.audio)
        channel = self.channel if u.channel is None else u.channel
        x = audio.load(u.audio, u.start_s, u.duration_s, about.sample_rate_hz, channel=channel)  # (T,)
        is_exact = (np.round(x * 32768) == x * 32768).all() and x.max(initial=0) < 1
        file = io.BytesIO()
        soundfile.write(file, x, about.sample_rate_hz, format="FLAC", subtype="PCM_16" if is_exact else "PCM_24")
        return replace(u, start_s=0.0, duration_s=part_s, channel=None), ".flac", file.getvalue()

    def _close(self, shard: Sequence[tuple[Utterance, str, bytes]]) -> Iterator[Utterance]:
        """Writes a shard as a whole: a reader sees the one of before, or this one."""
        name = f"{self.place}/{NAME.format(self.count)}"
        if is_remote(name):
            with tempfile.TemporaryDirectory() as folder:
                found = _written(os.path.join(folder, "shard.tar"), shard)
                remote.upload(os.path.join(folder, "shard.tar"), name)
        else:
            found = _written(name, shard)
        self.count += 1
        for (u, _, content), offset in zip(shard, found, strict=True):
            yield replace(u, audio=str(Member(name, offset, len(content))))


def _written(path: str, shard: Sequence[tuple[Utterance, str, bytes]]) -> list[int]:
    """Writes a tar file; the offset of each sound."""
    offsets = []
    with atomic_write(path, "wb") as file, tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for number, (u, ending, content) in enumerate(shard):
            offsets.append(tar.offset + HEADER)
            _add(tar, f"{number:09d}{ending}", content)
            fields = {name: value for name, value in vars(u).items() if value is not None and name not in _OF_INDEX}
            _add(tar, f"{number:09d}.json", json.dumps(u.extra | fields, ensure_ascii=False).encode())
            if u.text is not None:
                _add(tar, f"{number:09d}.txt", u.text.encode())
    return offsets


_OF_INDEX = ("audio", "features", "extra")


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)  # without a time, so that equal content gives equal files
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def _content(path: str) -> bytes:
    """The bytes of a file, an object or a member."""
    if member := member_of(path):
        return read(member)
    return remote.read(path) if is_remote(path) else Path(path).read_bytes()
