"""Same sound, same words, however far a session lags; and how benchmarks/serve_load.py counts streams that differ."""

import runpy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tiny
from bursts import pcm

import asr
from asr.recognizer import bundle
from asr.search.endpoint import Rule
from asr.serve import listener
from asr.serve.encodings import open_decoder
from asr.serve.listener import Ended, Listener

ROOT = Path(__file__).parent.parent
NETS = {"whole": {"cmvn": "speech"}, "streaming": {"cmvn": "causal"}}
RULES = (
    Rule(speech=True, silence_s=0.2, name="pause"),
    Rule(speech=False, silence_s=0.0, utterance_s=1.6, name="long"),
)


@pytest.fixture(scope="module", params=NETS)
def recognizer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> asr.Recognizer:
    folder, cfg = tmp_path_factory.mktemp(request.param), tiny.config(**NETS[request.param])
    cfg.model.kind, cfg.model.lookahead = "cnn", 2
    bundle.write(folder / "m.asr", tiny.model(cfg), cfg, tiny.TOKENS, tiny.graph_dir(folder / "graph"), "card")
    return asr.load(folder / "m.asr")


def test_a_session_that_lags_gets_the_same_words(recognizer: asr.Recognizer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the network cuts, whichever partial results the load leaves time for, whenever a thread has its turn."""
    monkeypatch.setattr(listener, "PARTIAL_S", 0.0)
    sound = pcm(np.concatenate([part for n in range(4) for part in (tiny.noise(0.7 + 0.4 * n, n), np.zeros(9000))]))
    alone = ended(recognizer, sound, lambda: (3200, False, True))
    assert len(alone) >= 4 and sum(len(each.hypothesis.words) for each in alone) > 5
    for seed in range(4):
        rng = np.random.default_rng(seed)
        busy = ended(recognizer, sound, lambda rng=rng: (int(rng.integers(1, 9000)), *(rng.random(2) < 0.6)))
        assert busy == alone


def ended(recognizer: asr.Recognizer, sound: bytes, drawn: Callable[[], tuple[int, bool, bool]]) -> list[Ended]:
    """The utterances of a session. `drawn`: the bytes of a message, whether more wait, and whether there is time for a
    partial result afterwards."""
    heard = Listener(recognizer, None, asr.EndpointOptions(RULES), open_decoder("pcm_s16le", 16000), 100.0)
    found: list[object] = []
    while sound:
        size, lags, has_time = drawn()
        found += heard.hear(sound[:size], lags)
        sound = sound[size:]
        if has_time:
            heard.partial()
    found += [*heard.end_sound(), heard.finalize()]
    return [replace(each, work_s=0.0) for each in found if isinstance(each, Ended)]


def heard(*texts: str, error: str | None = None) -> SimpleNamespace:
    return SimpleNamespace(texts=list(texts), error=error)


WHOLE, CUT, NONE = heard("one", "two"), heard("one", error="lags"), heard(error="all streams are taken")


@pytest.mark.parametrize(
    ("streams", "count"),
    [
        ([WHOLE, WHOLE], 0),
        ([CUT, WHOLE, WHOLE], 0),  # the others are not compared with the one that was cut off
        ([NONE, CUT, NONE], 0),
        ([heard("one", "three"), WHOLE, WHOLE], 1),
        ([WHOLE, heard("three", error="lags"), CUT], 1),
        ([CUT, heard("three", "two", error="lags")], 1),
        ([heard("one"), WHOLE, WHOLE], 1),  # the last final is missing, and nothing failed
        ([], 0),
    ],
)
def test_streams_that_differ_are_counted(streams: list[SimpleNamespace], count: int) -> None:
    load = runpy.run_path(str(ROOT / "benchmarks" / "serve_load.py"))
    assert load["others"](streams) == count
