"""Stored features: Kaldi archives, Sphinx cepstra, numpy arrays; and extracting the features of a corpus."""

import json
import os
import pickle
import struct
from dataclasses import replace
from pathlib import Path

import kaldiio
import numpy as np
import pytest
import soundfile
import torch

from asr import manifest
from asr.config import Config, FeaturesConfig
from asr.data.check import check
from asr.data.dataset import Unreadable, Utterances
from asr.data.extract import extract
from asr.errors import InputError
from asr.features.files import cepstra_to_bands, load_features
from asr.features.frontend import FrontEnd
from asr.files import fold
from asr.locks import locked
from asr.manifest import Utterance

AN4 = Path("../shared/data/an4")


@pytest.fixture
def matrix() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((20, 13)).astype(np.float32)


def write_mfc(path: Path, matrix: np.ndarray, order: str = ">", count: int | None = None) -> Path:
    header = struct.pack(order + "i", matrix.size if count is None else count)
    path.write_bytes(header + matrix.astype(order + "f4").tobytes())
    return path


@pytest.mark.parametrize("options", [{}, {"text": True}, {"compression_method": 2}])
def test_kaldi_archives(tmp_path: Path, matrix: np.ndarray, options: dict) -> None:
    ark, scp = tmp_path / "a.ark", tmp_path / "a.scp"
    kaldiio.save_ark(str(ark), {"first": matrix[:5], "second": matrix}, scp=str(scp), **options)
    places = dict(line.split() for line in scp.read_text().splitlines())
    atol = 0.05 if "compression_method" in options else 1e-5
    np.testing.assert_allclose(load_features(places["first"]), matrix[:5], atol=atol)
    np.testing.assert_allclose(load_features(places["second"]), matrix, atol=atol)


@pytest.mark.parametrize("order", [">", "<"])
def test_sphinx_cepstra_in_either_byte_order(tmp_path: Path, matrix: np.ndarray, order: str) -> None:
    np.testing.assert_array_equal(load_features(write_mfc(tmp_path / "a.mfc", matrix, order)), matrix)
    assert load_features(tmp_path / "a.mfc", dim=26).shape == (10, 26)


def test_bands_transform_back_to_the_cepstra() -> None:
    cepstra = np.random.default_rng(2).normal(0, 1, (7, 13)).astype(np.float32)
    bands = cepstra_to_bands(cepstra)
    assert bands.shape == (7, 40)
    angles = np.pi * np.arange(13)[:, None] * (np.arange(40) + 0.5) / 40
    np.testing.assert_allclose((bands[:, None] * np.cos(angles)).mean(2), cepstra, atol=1e-5)  # Sphinx's transform


@pytest.mark.skipif(not AN4.exists(), reason="../shared/data/an4 is absent")
def test_an4_cepstra_have_the_durations_of_their_manifest() -> None:
    for utterance in manifest.read(AN4 / "manifest.jsonl")[::100]:
        features = load_features(utterance.features)
        assert features.shape[1] == 13
        assert len(features) == pytest.approx(utterance.duration_s * 100, abs=5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16])
def test_numpy_arrays_become_float32(tmp_path: Path, matrix: np.ndarray, dtype: type) -> None:
    np.save(tmp_path / "a.npy", matrix.astype(dtype))
    loaded = load_features(tmp_path / "a.npy")
    assert loaded.dtype == np.float32
    np.testing.assert_array_equal(loaded, matrix.astype(dtype).astype(np.float32))


def bad_files(folder: Path, matrix: np.ndarray) -> dict[str, str]:
    """Path -> words that the error message must contain."""
    holed = matrix.copy()
    holed[7, 3] = np.nan
    np.save(folder / "nan.npy", holed)
    np.save(folder / "whole.npy", matrix)
    np.save(folder / "cube.npy", matrix[None])
    np.save(folder / "words.npy", np.array([["a", "b"]]))
    np.save(folder / "objects.npy", np.array([[{}]], dtype=object), allow_pickle=True)
    (folder / "cut.npy").write_bytes((folder / "nan.npy").read_bytes()[:-9])
    (folder / "empty.npy").touch()
    (folder / "empty.mfc").touch()
    (folder / "odd.mfc").write_bytes(bytes(7))
    write_mfc(folder / "long.mfc", matrix, count=999)
    write_mfc(folder / "nan.mfc", holed)
    write_mfc(folder / "twelve.mfc", matrix[:, :12])
    kaldiio.save_ark(str(folder / "whole.ark"), {"u": matrix})
    (folder / "cut.ark").write_bytes((folder / "whole.ark").read_bytes()[:-9])
    (folder / "evil.ark").write_bytes(b"u PKL" + pickle.dumps(matrix))
    kaldiio.save_ark(str(folder / "vector.ark"), {"u": matrix[0]})
    (folder / "a.txt").write_text("1 2 3")
    (folder / "hdf.npy").write_bytes(b"\x89HDF" + bytes(999))
    (folder / "twice.npy").write_bytes(2 * (folder / "whole.npy").read_bytes())
    return {
        "nan.npy": "frame 7",
        "cube.npy": "shape",
        "words.npy": "numbers",
        "objects.npy": "numpy.save",
        "cut.npy": "numpy.save",
        "empty.npy": "numpy.save",
        "empty.mfc": "0 bytes",
        "odd.mfc": "7 bytes",
        "long.mfc": "disagrees",
        "nan.mfc": "frame 7",
        "twelve.mfc": "dimension 13",
        "cut.ark:2": "damaged",
        "evil.ark:2": "is not a Kaldi matrix",
        "whole.ark:9": "is not a Kaldi matrix",
        "whole.ark:99999": "is not a Kaldi matrix",
        "vector.ark:2": "shape",
        "whole.ark": "OFFSET",
        "a.txt": "is not a feature file",
        "hdf.npy": "not an array saved by numpy.save",
        "twice.npy": "holds more than one array",
        "missing.npy": "does not exist",
        "missing.ark:5": "does not exist",
    }


def test_bad_files_are_refused_with_the_reason(tmp_path: Path, matrix: np.ndarray) -> None:
    for name, words in bad_files(tmp_path, matrix).items():
        with pytest.raises(InputError, match=words) as raised:
            load_features(tmp_path / name)
        assert name.split(":")[0] in str(raised.value)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Three good utterances, one missing, one shorter than a window."""
    rng = np.random.default_rng(0)
    utterances = []
    for i, samples in enumerate([4000, 8000, 16000, 0, 200]):
        path = tmp_path / f"{i}.wav"
        if samples:
            soundfile.write(path, 0.1 * rng.standard_normal(samples), 16000)
        utterances.append(Utterance(f"발화/{i}", audio=str(path), text="a", extra={"room": 3}))
    manifest.write(tmp_path / "in.jsonl", utterances)
    return tmp_path / "in.jsonl"


def config(**features) -> Config:
    return Config(features=FeaturesConfig(kind="mfcc", num_bins=23, **features))


@pytest.mark.parametrize("name", ["a.npy", "a.ark:2"])
def test_features_of_another_dimension_are_set_aside(tmp_path: Path, matrix: np.ndarray, name: str) -> None:
    """The cache of the training would take 20 frames of 26 values for 40 of 13."""
    wide = np.concatenate([matrix, matrix], 1)
    np.save(tmp_path / "a.npy", wide)
    kaldiio.save_ark(str(tmp_path / "a.ark"), {"u": wide})
    cfg = Config(features=FeaturesConfig(kind="stored", num_bins=13, cmvn="none"))
    utterances = Utterances(cfg, [Utterance("u", features=str(tmp_path / name), duration_s=0.4)], [[1]])
    for _ in range(2):  # from the file and from the cache
        item = utterances[0]
        assert isinstance(item, Unreadable) and "26 values per frame, not 13; set features.num_bins=26" in item.reason
    manifest.write(tmp_path / "m.jsonl", [Utterance("u", features=str(tmp_path / name), text="one")])
    assert check(tmp_path / "m.jsonl", tmp_path / "checked", feature_dim=13).kept == 0
    assert check(tmp_path / "m.jsonl", tmp_path / "checked").kept == 1


def test_stored_features_equal_features_from_audio(corpus: Path, capsys: pytest.CaptureFixture) -> None:
    cfg = config(deltas=1, cmvn="utterance")
    output = extract(corpus, corpus.parent / "out.jsonl", cfg)
    utterances = manifest.read(output)
    assert [(u.id, u.audio, u.duration_s, u.extra) for u in utterances] == [
        (f"발화/{i}", None, pytest.approx(0.01 * frames), {"room": 3}) for i, frames in enumerate([23, 48, 98])
    ]
    set_aside = (corpus.parent / "out" / "set_aside.tsv").read_text(encoding="utf-8").splitlines()
    assert [line.split("\t")[0] for line in set_aside] == ["발화/3", "발화/4"]
    assert "발화/4" in "".join(capsys.readouterr())
    stored = load_features(utterances[2].features)
    samples = soundfile.read(corpus.parent / "2.wav", dtype="float32")[0]
    wanted, _ = FrontEnd(cfg.features)(torch.from_numpy(samples)[None], torch.tensor([len(samples)]))
    again = FrontEnd(replace(cfg.features, kind="stored", num_bins=13))
    found, _ = again(torch.from_numpy(stored)[None], torch.tensor([len(stored)]))
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


def test_extraction_continues_where_it_stopped(corpus: Path) -> None:
    folder = corpus.parent / "out"
    extract(corpus, corpus.parent / "out.jsonl", config())
    kept, lost = sorted(folder.glob("*.npy"))[:2]
    time_ns = kept.stat().st_mtime_ns
    lost.unlink()
    extract(corpus, corpus.parent / "out.jsonl", config())
    assert lost.exists() and kept.stat().st_mtime_ns == time_ns


def test_extraction_refuses_a_folder_of_other_features(corpus: Path) -> None:
    extract(corpus, corpus.parent / "out.jsonl", config())
    with pytest.raises(InputError, match="another configuration"):
        extract(corpus, corpus.parent / "out.jsonl", config(num_ceps=20))


def test_extraction_without_any_good_utterance_or_suffix_is_refused(corpus: Path) -> None:
    lines = corpus.read_text(encoding="utf-8").splitlines()
    (corpus.parent / "bad.jsonl").write_text(lines[3] + "\n", encoding="utf-8")
    assert json.loads(lines[3])["id"] == "발화/3"
    with pytest.raises(InputError, match="no utterance"):
        extract(corpus.parent / "bad.jsonl", corpus.parent / "out.jsonl", config())
    assert not (corpus.parent / "out.jsonl").exists()
    with pytest.raises(InputError, match="suffix"):
        extract(corpus, corpus.parent / "out", config())


def test_features_of_a_changed_recording_are_made_again(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    samples = 0.1 * rng.standard_normal((3, 24000))
    output, source = tmp_path / "f" / "t.jsonl", tmp_path / "in.jsonl"

    def made_from(audio: str = "a.wav", start_s: float = 0.0, duration_s: float | None = None, **extra) -> np.ndarray:
        u = Utterance("u", str(tmp_path / audio), None, start_s, duration_s, extra=extra)
        manifest.write(source, [u])
        extract(source, output, config())
        return load_features(manifest.read(output)[0].features or "")

    for name, length, row in (("a.wav", 16000, 0), ("b.wav", 24000, 1)):
        soundfile.write(tmp_path / name, samples[row, :length], 16000)
    first = made_from()
    assert len(first) == 98 and len(made_from("b.wav")) == 148 and len(made_from()) == 98
    assert len(made_from(duration_s=0.5)) == 48
    assert not np.array_equal(made_from(start_s=0.25, duration_s=0.5), made_from(duration_s=0.5))
    stat = (tmp_path / "a.wav").stat()
    soundfile.write(tmp_path / "a.wav", samples[2, :16000], 16000)
    os.utime(tmp_path / "a.wav", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert not np.array_equal(made_from(), first)


def test_features_are_kept_if_text_or_place_change(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.random.default_rng(0).standard_normal(8000) * 0.1, 16000)
    times = set()
    for text, name in (("one", "a.wav"), ("two", "a.wav"), ("two", "b.wav")):
        if name == "b.wav":
            (tmp_path / "a.wav").rename(tmp_path / name)
        manifest.write(tmp_path / "in.jsonl", [Utterance("u", str(tmp_path / name), text=text)])
        extract(tmp_path / "in.jsonl", tmp_path / "out.jsonl", config())
        assert manifest.read(tmp_path / "out.jsonl")[0].text == text
        times.add((tmp_path / "out" / "u.npy").stat().st_mtime_ns)
    assert len(times) == 1


def test_ids_that_a_file_system_may_confuse_have_files_of_their_own(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.random.default_rng(0).standard_normal(8000) * 0.1, 16000)
    ids = ["a/b", "a%2Fb", "A", "a", "\u00e9", "e\u0301", "..", "config"]
    manifest.write(tmp_path / "in.jsonl", [Utterance(id, str(tmp_path / "a.wav")) for id in ids])
    found = manifest.read(extract(tmp_path / "in.jsonl", tmp_path / "out.jsonl", config()))
    assert [u.id for u in found] == ids
    assert len({fold(u.features or "") for u in found}) == len(ids)


def test_extraction_destroys_no_input(corpus: Path) -> None:
    folder = corpus.parent
    with pytest.raises(InputError, match="in.jsonl is also an input"):
        extract(corpus, f"{folder}/../{folder.name}/in.jsonl", config())
    (folder / "talks").mkdir()
    (folder / "0.wav").rename(folder / "talks" / "0.wav")
    with pytest.raises(InputError, match=r"talks holds files that `asr features` does not write \(0.wav\)"):
        extract(corpus, folder / "talks.jsonl", config())
    np.save(folder / "talks" / "x.npy", np.zeros((3, 13), np.float32))
    manifest.write(folder / "stored.jsonl", [Utterance("x", features=str(folder / "talks" / "x.npy"))])
    with pytest.raises(InputError, match="x.npy is also an input"):
        extract(folder / "stored.jsonl", folder / "talks.jsonl", config())
    extract(corpus, folder / "out.jsonl", config())
    with pytest.raises(InputError, match="out holds the features of .*out.jsonl"):
        extract(corpus, folder / "out.json", config())
    with locked(folder / "out"), pytest.raises(InputError, match="out is in use by process"):
        extract(corpus, folder / "out.jsonl", config())
