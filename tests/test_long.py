"""Long recordings: cut at pauses, recognised in bounded memory, joined with times from their start."""

import io
import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tiny import TOKENS, config, graph_dir, model, noise

from asr.errors import InputError
from asr.features.pauses import best_pause
from asr.hypothesis import Alternative, Hypothesis, Word
from asr.manifest import Utterance
from asr.recognizer import bundle, long
from asr.recognizer import opening as api
from asr.recognizer.recognizer import Recognizer

RATE_HZ = 16000


@pytest.fixture(scope="module")
def recognizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("long")
    cfg = config()
    bundle.write(folder / "model.asr", model(cfg), cfg, TOKENS, graph_dir(folder / "graph"), "# tiny")
    return api.load(folder / "model.asr")


def with_pauses(pauses, seconds, noise_level=0.003, seed=0):
    """Samples (T,) of sound with `noise_level` in each (start_s, end_s) of `pauses`."""
    x = noise(seconds, seed)
    rng = np.random.default_rng(seed)
    for start_s, end_s in pauses:
        part = slice(round(start_s * RATE_HZ), round(end_s * RATE_HZ))
        x[part] = noise_level * rng.standard_normal(len(x[part]))
    return x


# The pause


@pytest.mark.parametrize("noise_level", [0.0, 1e-4, 0.003, 0.03])
def test_a_cut_lies_in_the_middle_of_the_longest_pause(noise_level):
    """Not in the closures of 60 ms, nor before `after_s`, whatever the background noise."""
    closures = [(t, t + 0.06) for t in np.arange(15.2, 29, 0.9)]
    x = with_pauses([(3, 5), (22.0, 22.4), *closures], 30, noise_level)
    assert best_pause(x, RATE_HZ, 15.0) / RATE_HZ == pytest.approx(22.2, abs=0.06)


def test_dropouts_do_not_attract_the_cut():
    """A pause with background noise wins against a shorter one of digital silence."""
    x = with_pauses([(20.0, 20.5)], 30, 0.01)
    x[round(25 * RATE_HZ) : round(25.1 * RATE_HZ)] = 0
    assert best_pause(x, RATE_HZ, 15.0) / RATE_HZ == pytest.approx(20.25, abs=0.06)


@pytest.mark.parametrize("x", [np.zeros(30 * RATE_HZ, np.float32), np.ones(30 * RATE_HZ, np.float32), noise(30)])
def test_recordings_without_a_pause_are_cut_too(x):
    assert 15.0 <= best_pause(x, RATE_HZ, 15.0) / RATE_HZ <= 30.0


def test_without_a_pause_the_quietest_moment_is_taken():
    x = noise(30)
    x[: 5 * RATE_HZ] *= 0.001
    x[round(18.0 * RATE_HZ) : round(18.1 * RATE_HZ)] *= 0.2
    assert best_pause(x, RATE_HZ, 15.0) / RATE_HZ == pytest.approx(18.05, abs=0.06)


def test_pieces_are_the_recording():
    x = with_pauses([(t, t + 0.4) for t in range(4, 100, 7)], 100)
    pieces = list(long.cut((x[i : i + 50_000] for i in range(0, len(x), 50_000)), RATE_HZ))
    assert np.array_equal(np.concatenate([samples for _, samples, _ in pieces]), x)
    assert [last for _, _, last in pieces] == [False] * (len(pieces) - 1) + [True]
    assert all(long.SHORTEST_S <= len(s) / RATE_HZ <= long.LONGEST_S for _, s, _ in pieces[:-1])
    ends = [start_s for start_s, _, _ in pieces[1:]]
    assert all(any(t <= end <= t + 0.4 for t in range(4, 100, 7)) for end in ends)
    whole = list(long.cut(iter([x[: 30 * RATE_HZ]]), RATE_HZ))
    assert len(whole) == 1 and whole[0][2]


# Recognition


@pytest.fixture(scope="module")
def sound():
    return with_pauses([(t, t + 0.5) for t in range(6, 95, 8)], 95)


@pytest.fixture(scope="module")
def path(tmp_path_factory, sound):
    path = tmp_path_factory.mktemp("sound") / "talk.flac"
    soundfile.write(path, sound, RATE_HZ)
    return path


def test_a_long_recording_is_its_pieces(recognizer, path):
    """The words, times, cost and length are those of the pieces recognised one by one."""
    samples = soundfile.read(path, dtype="float32")[0]
    pieces = list(long.cut(iter([samples]), RATE_HZ))
    parts = [recognizer.transcribe(part, sample_rate_hz=RATE_HZ) for _, part, _ in pieces]
    hypo = recognizer.transcribe(path)
    assert len(pieces) > 3
    assert (hypo.id, hypo.text) == ("talk", " ".join(part.text for part in parts))
    wanted = [w.start_s + start_s for (start_s, _, _), part in zip(pieces, parts, strict=True) for w in part.words]
    assert [w.start_s for w in hypo.words] == pytest.approx(wanted, abs=1e-3)
    edges = [t for w in hypo.words for t in (w.start_s, w.end_s)]
    assert edges == sorted(edges) and hypo.duration_s == pytest.approx(95, abs=1e-6)
    assert hypo.cost == pytest.approx(sum(part.cost for part in parts), rel=1e-3) and hypo.complete


def test_all_forms_of_a_long_recording_agree(recognizer, path):
    hypo = recognizer.transcribe(path)
    samples = soundfile.read(path, dtype="int16")[0]
    for form in (path.read_bytes(), samples, samples.astype(np.float32) / 32768):
        assert replace(recognizer.transcribe(form, sample_rate_hz=RATE_HZ), id="talk") == hypo
    many = recognizer.transcribe([path, samples[: 3 * RATE_HZ], path], sample_rate_hz=RATE_HZ)
    assert [h.duration_s for h in many] == [hypo.duration_s, 3.0, hypo.duration_s]
    assert many[0].text == many[2].text == hypo.text


def test_other_rates_and_channels(recognizer, tmp_path, sound):
    """Resampled block by block: as the whole resampled at once."""
    stereo = np.repeat(sound[::2, None], 2, axis=1)
    soundfile.write(tmp_path / "x.wav", stereo, RATE_HZ // 2, subtype="FLOAT")
    from_file = recognizer.transcribe(tmp_path / "x.wav")
    from_array = recognizer.transcribe(sound[::2], sample_rate_hz=RATE_HZ // 2)
    assert from_file.words == from_array.words and from_file.duration_s == pytest.approx(95, abs=1e-3)


def test_segments_of_a_manifest(recognizer, path, sound):
    segments = [
        Utterance("end", str(path), start_s=50.0),
        Utterance("start", str(path), start_s=0.0, duration_s=2.0),
        Utterance("gone", str(path.parent / "gone.wav")),
    ]
    found = dict(long.transcribe_each(recognizer, segments))
    assert isinstance(found[2], InputError) and "gone.wav" in str(found[2])
    assert [found[i].id for i in (0, 1)] == ["end", "start"]
    assert [found[i].duration_s for i in (0, 1)] == [45.0, 2.0]
    samples = soundfile.read(path, dtype="float32")[0][50 * RATE_HZ :]
    assert found[0].words == recognizer.transcribe(samples, sample_rate_hz=RATE_HZ).words


def test_a_failed_recording_does_not_affect_the_others(recognizer, path, tmp_path):
    """A truncated file and one that is not audio, both between good ones."""
    data = path.read_bytes()
    (tmp_path / "cut.flac").write_bytes(data[: len(data) * 2 // 3])
    (tmp_path / "text.wav").write_text("no sound")
    told = []
    recordings = [tmp_path / "text.wav", path, tmp_path / "cut.flac", noise(1.0)]
    results = long.transcribe_each(recognizer, recordings, RATE_HZ, progress=lambda *seconds: told.append(seconds))
    found = dict(results)
    assert sorted(found) == [0, 1, 2, 3]
    assert "text.wav" in str(found[0]) and "cut.flac" in str(found[2])
    assert found[1].words == recognizer.transcribe(path).words and found[3].duration_s == 1.0
    assert told == sorted(told) and told[-1][0] > 95
    with pytest.raises(InputError, match="text.wav"):
        recognizer.transcribe(recordings, sample_rate_hz=RATE_HZ)


def test_the_caller_sets_the_limit(recognizer, path, sound):
    assert math.isinf(recognizer.cfg.data.max_audio_s)
    for limit_s, refused in ((90, True), (96, False)):
        cfg = replace(recognizer.cfg, data=replace(recognizer.cfg.data, max_audio_s=limit_s))
        limited = Recognizer(recognizer.model, cfg, TOKENS, recognizer.space)
        for x in (path, sound):
            if refused:
                with pytest.raises(InputError, match="90 s"):
                    limited.transcribe(x, sample_rate_hz=RATE_HZ)
            else:
                assert limited.transcribe(x, sample_rate_hz=RATE_HZ).duration_s == pytest.approx(95)


def test_bad_arrays_are_refused_when_long_too(recognizer, sound):
    nan = sound.copy()
    nan[-5] = np.nan
    for x, says in ((np.stack([sound, sound], 1), "average channels"), (nan, "NaN")):
        with pytest.raises(InputError, match=says):
            recognizer.transcribe(x, sample_rate_hz=RATE_HZ)
    with pytest.raises(InputError, match="give sample_rate_hz="):
        recognizer.transcribe(sound)


def test_lists_and_stored_features_are_recognised_whole(recognizer, sound, monkeypatch):
    """An entry of a list may be no part of a recording; features have no level. So they stay limited."""
    cfg = config(kind="stored")
    cfg.data.max_audio_s = math.inf
    stored = Recognizer(model(cfg), cfg, TOKENS)
    features = np.random.default_rng(1).normal(size=(9500, 8)).astype(np.float32)
    listed = recognizer.with_list(["a b", "b"])
    assert listed.transcribe(sound, sample_rate_hz=RATE_HZ).text in ("a b", "b", "")
    assert stored.transcribe(features).duration_s == 95.0
    monkeypatch.setattr(long, "WHOLE_S", 90.0)
    with pytest.raises(InputError, match="95.0 s, but a list or grammar entry is recognised in one piece"):
        listed.transcribe(sound, sample_rate_hz=RATE_HZ)
    with pytest.raises(InputError, match="95.0 s, but stored features are recognised in one piece"):
        stored.transcribe(features)


def test_joined_costs_and_alternatives():
    """The best combinations of the parts' readings, by cost; complete only if all parts are."""
    first = Hypothesis(
        "x", "a", [Word("a", 0.0, 0.5, 1.0)], 1.0, 1.0, True, [Alternative("b", 1.5), Alternative("", 9)]
    )
    second = Hypothesis("x", "c", [Word("c", 0.2, 0.6, 0.5)], 2.0, 1.5, False, [Alternative("d", 3.0)])
    joined = long.join([first, second])
    assert (joined.text, joined.cost, joined.duration_s, joined.complete) == ("a c", 3.0, 2.5, False)
    assert joined.alternatives == [Alternative("b c", 3.5), Alternative("a d", 4.0)]
    cheaper = replace(first, alternatives=[Alternative("b", 0.5)])  # with decoder.mbr, another reading may cost less
    assert long.join([cheaper, second]).alternatives == [Alternative("b c", 2.5)]
    assert long.join([first]) is first
    assert long.join([replace(first, complete=True)] * 2).complete
    lost = replace(first, cost=math.inf, text="", words=[])
    assert long.join([lost, second]).cost == math.inf


def test_an_open_ended_stream(recognizer, sound):
    """A stream whose header leaves the length open."""
    file = io.BytesIO()
    soundfile.write(file, sound, RATE_HZ, format="FLAC")
    data = bytearray(file.getvalue())
    data[21] &= 0xF0  # the 36 bits of the number of samples
    data[22:26] = bytes(4)
    hypo = recognizer.transcribe(bytes(data))
    assert hypo.words == recognizer.transcribe(file.getvalue()).words and hypo.duration_s == pytest.approx(95)


MEASURED = """
import json, sys
sys.path.insert(0, sys.argv[1])
import asr
recognizer = asr.load(sys.argv[2])
def peak():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith("VmHWM"))
recognizer.transcribe(sys.argv[3])
short = peak()
recognizer.transcribe(sys.argv[4])
print(json.dumps([short, peak()]))
"""


def test_memory_does_not_grow_with_the_recording(tmp_path):
    """Six times the length of a recording takes no more memory, though the untuned net's lattices are large."""
    if not Path("/proc/self/status").exists():
        pytest.skip("reads the peak memory from /proc")
    cfg = config()
    bundle.write(tmp_path / "m.asr", model(cfg), cfg, TOKENS, graph_dir(tmp_path / "graph"), "# tiny")
    block = with_pauses([(t, t + 0.3) for t in range(4, 60, 5)], 60)
    for name, times in (("short", 1), ("long", 6)):
        with soundfile.SoundFile(tmp_path / f"{name}.wav", "w", RATE_HZ, 1) as file:
            for _ in range(times):
                file.write(block)
    argv = [
        sys.executable,
        "-c",
        MEASURED,
        str(Path(__file__).parent),
        *(str(tmp_path / n) for n in ("m.asr", "short.wav", "long.wav")),
    ]
    short_mb, long_mb = json.loads(subprocess.run(argv, capture_output=True, text=True, check=True).stdout)
    assert long_mb < short_mb + 70  # 140 more when it is not cut
