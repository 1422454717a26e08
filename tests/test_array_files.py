"""Files of arrays whose bits have changed on the disk: refused with a sentence, or made again."""

import numpy as np
import pytest

from asr.data.alignments import read_alignments, write_alignments
from asr.errors import InputError
from asr.graph.cache import Cache
from asr.hmm.resume import ResumePoint

ENTRY = b"PK\x01\x02"  # the first bytes of an entry of a zip's directory
ENCRYPTED, METHOD = 8, 10  # places in it


def damage(path, place):
    data = bytearray(path.read_bytes())
    data[data.index(ENTRY) + place] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("place", [ENCRYPTED, METHOD])
def test_an_entry_that_calls_itself_encrypted_or_packed(place, tmp_path, capsys, caplog):
    write_alignments(tmp_path / "alignments.npz", {"u": np.ones(3, np.int32)})
    damage(tmp_path / "alignments.npz", place)
    with pytest.raises(InputError, match="alignments.npz does not hold alignments"):
        read_alignments(tmp_path / "alignments.npz")

    point = ResumePoint(tmp_path / "resume.npz", "key")
    np.savez(point.path, key=np.array("key"))
    damage(point.path, place)
    assert point.read(None) is None and "resume.npz cannot be read" in "".join(capsys.readouterr())

    cache = Cache(tmp_path / "cache")
    cache.store("graph", "key", {"arcs": np.ones(3)})
    damage(next((tmp_path / "cache").rglob("*.npz")), place)
    assert cache.load("graph", "key") is None and "is damaged" in caplog.text
