"""Forced alignment through all spellings of a text: exact against brute force, honest times, and what is suspicious."""

import itertools
import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.align.changes import Changes
from asr.align.ctc_aligner import emissions, likeness, spoken
from asr.align.network import GAP, GARBAGE, Network, Slot, Spelling
from asr.align.times import Clock, Edges, separated
from asr.align.trellis import best_path
from asr.criteria import ctc_forced_align
from asr.errors import InputError
from asr.search.word_times import Segment

SILENCE = 3  # a token of the random nets, which have a blank, two sounds and a silence
LETTERS = {0: "_", 1: "a", 2: "b", SILENCE: "s", GARBAGE: "G"}


def random_log_probs(rng, frames, size=4):
    x = rng.normal(0, 2, (frames, size))
    return (x - np.logaddexp.reduce(x, axis=1, keepdims=True)).astype(np.float32)


def frames_of(spelling):
    """A regular expression of the frames of a spelling: CTC's rule."""
    pattern, last = "", None
    for token in spelling.tokens:
        blanks = "" if last is None else "_+" if token == last else "_*"
        pattern += f"{blanks}{LETTERS[token]}+"
        last = token
    return pattern


def readings(slots, skip_cost):
    """(cost, regular expression of frames) of every way to read the slots."""
    ways = []
    for slot in slots:
        ways.append([(spelling.cost, spelling) for spelling in slot.spellings])
        if slot.is_optional:
            ways[-1].append((0.0, "absent"))
        elif skip_cost is not None:
            ways[-1].append((skip_cost * min(len(s.tokens) for s in slot.spellings), "skipped"))
    for way in itertools.product(*ways):
        pattern, last, skips = "", None, False
        for _, part in way:
            if part == "skipped":
                skips = True
            elif part != "absent":
                needs_gap = skips or part.tokens[0] == last
                pattern += f"[_s]{'+' if needs_gap else '*'}{frames_of(part)}"
                last, skips = part.tokens[-1], False
        yield sum(cost for cost, _ in way), re.compile(pattern + f"[_s]{'+' if skips else '*'}")


def brute_force(slots, scores, skip_cost=None):
    """The score of the best of all labellings of the frames that read the slots in any way; -inf if there is none."""
    used = {token for slot in slots for spelling in slot.spellings for token in spelling.tokens}
    symbols = [*range(scores.shape[1] - 2), *([GARBAGE] if GARBAGE in used else [])]
    best = -np.inf
    found = list(readings(slots, skip_cost))
    for labels in itertools.product(symbols, repeat=len(scores)):
        text = "".join(LETTERS[label] for label in labels)
        costs = [cost for cost, pattern in found if pattern.fullmatch(text)]
        if costs:
            best = max(best, float(sum(scores[f, label] for f, label in enumerate(labels))) - min(costs))
    return best


def score_of(network, path, scores):
    """The score of a path, from its emissions, the spellings that it takes, and the slots that it leaves out."""
    total = float(scores[np.arange(len(path)), network.token[path]].sum())
    taken = {(int(network.slot[s]), int(network.spelling[s])) for s in path if network.place[s] >= 0}
    total -= sum(network.slots[slot].spellings[which].cost for slot, which in taken)
    missing = [s for n, s in enumerate(network.slots) if n not in {slot for slot, _ in taken}]
    return total - sum(map(network.cost_of_skipping, missing))


spelling = st.builds(Spelling, st.sampled_from([(1,), (2,), (1, 2), (2, 1), (1, 1), (GARBAGE,)]),
                     st.sampled_from([0.0, 0.7]))  # fmt: skip
word = st.lists(spelling, min_size=1, max_size=2).map(lambda spellings: Slot("w", spellings))
filler = spelling.map(lambda spelling: Slot("f", [spelling], is_optional=True))


@given(st.lists(word, max_size=2), st.none() | filler, st.none() | st.just(1.5), st.integers(1, 5), st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_the_best_path_is_that_of_brute_force(words, between, skip_cost, frames, seed):
    slots = words if between is None else [between, *(part for w in words for part in (w, between))]
    scores = emissions(random_log_probs(np.random.default_rng(seed), frames), [0, SILENCE], 0.5)
    network = Network(slots, skip_cost)
    path = best_path(network, scores)
    expected = brute_force(slots, scores, skip_cost)
    if path is None:
        assert expected == -np.inf
        return
    assert score_of(network, path, scores) == pytest.approx(expected, abs=1e-4)
    assert (np.diff(network.slot[path]) >= 0).all()  # words in order


@pytest.mark.parametrize("seed", range(5))
def test_a_text_with_one_spelling_is_aligned_as_ctc_forced_align_does(seed):
    rng = np.random.default_rng(seed)
    log_probs = random_log_probs(rng, 60, 9)
    text = [tuple(rng.integers(1, 9, rng.integers(1, 5)).tolist()) for _ in range(5)]
    network = Network([Slot("w", [Spelling(tokens)]) for tokens in text])
    path = best_path(network, emissions(log_probs, [0], 0.5))
    targets = torch.tensor([[token for tokens in text for token in tokens]])
    wanted, _ = ctc_forced_align(torch.from_numpy(log_probs)[:, None], targets, [60], [targets.shape[1]])
    found = np.where(network.token[path] == GAP, 0, network.token[path])
    assert found.tolist() == wanted[0].tolist()
    torchaudio = pytest.importorskip("torchaudio.functional")
    if hasattr(torchaudio, "forced_align"):
        theirs, _ = torchaudio.forced_align(torch.from_numpy(log_probs)[None], targets)
        assert found.tolist() == theirs[0].tolist()


def test_too_few_frames_have_no_path_and_too_many_are_refused(monkeypatch):
    scores = emissions(np.full((2, 4), -1.4, np.float32), [0], 0.5)
    assert best_path(Network([Slot("w", [Spelling((1, 1))])]), scores) is None
    assert best_path(Network([]), scores[:0]) is None
    assert best_path(Network([]), scores).tolist() == [0, 0]
    monkeypatch.setattr("asr.align.trellis.MOST_CELLS", 5)
    with pytest.raises(InputError, match="asr align long"):
        best_path(Network([Slot("w", [Spelling((1,))])]), scores)


def test_likeness_is_one_for_what_the_net_hears_and_less_for_other_words():
    heard = [0, 1, 0, 2, 2, 0, 0, 1]
    log_probs = np.full((8, 4), np.log(0.05), np.float32)
    log_probs[np.arange(8), heard] = np.log(0.85)
    scores = emissions(log_probs, [0], 0.5)

    def of(*words):
        network = Network([Slot("w", [Spelling(tokens)]) for tokens in words])
        path = best_path(network, scores)
        return likeness(network, path, log_probs, [0]), list(spoken(network, path, log_probs))

    same, parts = of((1, 2), (1,))
    assert same == 1
    assert [(slot, [(s.token, s.start, s.end) for s in segments]) for slot, _, segments in parts] == [
        (0, [(1, 1, 2), (2, 3, 5)]),
        (1, [(1, 7, 8)]),
    ]
    assert of((1, 2), (2,))[0] == pytest.approx(np.exp(-np.log(17) / 3), rel=1e-4)  # one frame in three tokens
    assert of((1,), (GARBAGE,), (1,))[0] == 1


segments = st.lists(st.lists(st.tuples(st.integers(0, 4), st.integers(1, 3)), min_size=1, max_size=4), max_size=6)


@given(segments, st.floats(0, 0.2), st.floats(0, 0.2), st.sampled_from([0.0, 0.1]))
def test_times_increase_cover_their_word_and_stay_in_the_recording(steps, lead_s, tail_s, pad_s):
    words, at = [], 0
    for word in steps:
        words.append([])
        for gap, length in word:
            words[-1].append(Segment(1, at + gap, at + gap + length, 0.0))
            at += gap + length
    duration_s = max(0.1, at * 0.02 - 2 * pad_s)
    edges = Edges.of(words, Clock(0.02, pad_s), duration_s, lead_s, tail_s)
    times = [time for spans in edges.tokens for span in spans for time in span]
    assert times == sorted(times) and all(0 <= time <= duration_s + 1e-9 for time in times)
    for (start_s, end_s), spans, word in zip(edges.words, edges.tokens, words, strict=True):
        assert (start_s, end_s) == (spans[0][0], spans[-1][1]) and len(spans) == len(word)
        assert all(a < b for a, b in spans)
        assert all(a[1] == b[0] for a, b in itertools.pairwise(spans))


def test_boundaries_move_to_where_the_sound_changes_also_in_a_recording_of_many_parts():
    """Tones change every 0.237 s; the parts are no whole numbers of the hop, which must not add up."""
    rate_hz, step = 16000, 3792
    time_s = np.arange(step) / rate_hz
    tones = [np.sin(2 * np.pi * (400 + 500 * (n % 4)) * time_s) for n in range(80)]
    samples = (0.3 * np.concatenate(tones)).astype(np.float32)
    cuts = [*range(0, len(samples) - 5000, 5371), len(samples)]
    parts = [(a / rate_hz, Changes.of(samples[a:b], rate_hz)) for a, b in itertools.pairwise(cuts)]
    whole, joined = Changes.of(samples, rate_hz), Changes.joined(parts)
    assert abs(len(joined.log_change) - len(whole.log_change)) <= 2
    edges_s = np.arange(1, 80) * step / rate_hz
    is_inside = np.abs(edges_s[:, None] - np.array(cuts) / rate_hz).min(1) > 0.1
    for late_s in (-0.01, 0.01):
        assert np.abs(whole.nearest(edges_s + late_s, 0, 99) - edges_s).max() <= 0.02
        assert np.abs(joined.nearest(edges_s + late_s, 0, 99) - edges_s)[is_inside].max() <= 0.02
    one = np.ones(1)
    assert Changes.of(samples[:3], rate_hz).nearest(0 * one, 0, 0) == 0 and Changes.joined([]).nearest(one, 0, 2) == 1


@pytest.mark.parametrize("rate_hz", [16000, 11025])  # of which 5 ms are a whole number of samples, and are none
@pytest.mark.parametrize("size", [1, 3000, 30001])
def test_changes_are_those_of_a_slow_reference(rate_hz, size):
    """Window by window, band by band, in float64."""
    samples = np.random.default_rng(4).normal(0, 0.1, size) * np.linspace(0.01, 1, size)
    window, hop = round(0.025 * rate_hz), 0.005 * rate_hz
    count, bins = max(1, int(size / hop)), window // 2 + 1
    padded = np.concatenate([np.zeros(window // 2), samples, np.zeros(window)])
    edges = np.unique(np.round(bins * np.linspace(0.1, 1, 21) ** 1.7).astype(int))
    energies = np.zeros((count, len(edges) - 1))
    for moment in range(count):
        start = round(moment * hop)
        shape = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
        power = np.abs(np.fft.rfft(padded[start : start + window] * shape)) ** 2
        energies[moment] = [power[low:high].sum() for low, high in itertools.pairwise(edges)]
    spectra = np.log(energies + 1e-6 * energies.mean() + 1e-20)
    around = [spectra[np.clip(np.arange(k - 6, k + 6), 0, count - 1)] for k in range(count)]
    wanted = [np.sqrt(np.mean((x[6:].mean(0) - x[:6].mean(0)) ** 2)) for x in around]
    found = Changes.of(samples.astype(np.float32), rate_hz).log_change
    np.testing.assert_allclose(np.exp(found), np.array(wanted) + 1e-3, rtol=2e-3)


@given(st.lists(st.integers(-5, 2000), max_size=9), st.integers(0, 1500), st.booleans())
def test_separated_times_are_the_nearest_that_increase(moments_ms, duration_ms, is_sorted):
    """Against whole milliseconds: none is beyond those behind it, nor before those in front of it."""
    moments_ms = sorted(moments_ms) if is_sorted else moments_ms
    wanted, latest = list(moments_ms), duration_ms
    for place in reversed(range(len(wanted))):
        wanted[place] = min(wanted[place], latest)
        latest = wanted[place] - 1
    earliest = 0
    for place in range(len(wanted)):
        wanted[place] = max(wanted[place], earliest)
        earliest = wanted[place] + 1
    found = separated([ms / 1000 + 0.0001 for ms in moments_ms], duration_ms / 1000)
    assert [round(1000 * time) for time in found] == wanted
    np.testing.assert_allclose(found, np.array(wanted) / 1000, atol=1e-12)


def test_a_boundary_moves_to_the_change_of_the_largest_gain_within_its_bounds():
    """Against a loop over all moments."""
    rng = np.random.default_rng(3)
    changes, times_s = Changes(rng.normal(0, 3, 90).astype(np.float32)), np.sort(rng.uniform(-0.02, 0.5, 40))
    lows_s, highs_s = times_s - rng.uniform(0, 0.05, 40), times_s + rng.uniform(0, 0.05, 40)
    for spread_s in (0.01, 0.05):
        wanted = []
        for time_s, low_s, high_s in zip(times_s, lows_s, highs_s, strict=True):
            gains = {
                k * 0.005: change - ((k * 0.005 - time_s) / spread_s) ** 2 / 2
                for k, change in enumerate(changes.log_change)
                if max(low_s, time_s - 0.04) <= k * 0.005 <= min(high_s, time_s + 0.04)
            }
            wanted.append(max(gains, key=gains.get, default=time_s))
        np.testing.assert_allclose(changes.nearest(times_s, lows_s, highs_s, spread_s), wanted)


def test_words_that_touch_share_a_boundary_and_pauses_belong_to_none():
    near, far = [Segment(1, 10, 11, 0.0)], [Segment(2, 13, 14, 0.0)]
    edges = Edges.of([near, far, [Segment(1, 50, 51, 0.0)]], Clock(0.02), 2.0, 0.04, 0.02)
    assert edges.words == [(0.16, 0.23), (0.23, 0.3), (0.96, 1.04)]
