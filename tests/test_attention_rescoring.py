"""Second passes by Whisper's decoder: costs against steps one by one, recogniser, bundle, tuning, conversion."""

import copy
import json
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import rescored
import soundfile
import torch
from ctranslate2_model import model_bytes, weights
from rescored import with_second
from tiny import TOKENS, config, model, noise
from torch._subclasses.fake_tensor import FakeTensorMode

import asr
from asr.cli.main import main
from asr.data.dataset import load_input
from asr.errors import InputError
from asr.evaluation.score import error_counts
from asr.evaluation.tune_second_pass import tune_second_pass
from asr.lm.attention import file, pieces
from asr.lm.attention.pieces import CHARACTERS, END, Pieces, beginning
from asr.lm.attention.scorer import AttentionScorer, Tree
from asr.manifest import Utterance
from asr.recognizer import bundle, streamed
from asr.recognizer.manifests import decode_utterances
from asr.recognizer.recognizer import Recognizer
from asr.search.second_pass import open_scorer, parsed
from asr.search.space import SearchSpace

folder, recognizer = rescored.folder, rescored.recognizer  # fixtures
DIM, HIDDEN, LAYERS = 16, 24, 2
MERGES = [("Ġ", "a"), ("Ġ", "b"), ("a", "b"), ("Ġa", "b")]
WORDS = [*CHARACTERS, *(a + b for a, b in MERGES), END, *beginning("ko")]


def decoder_weights(tokens, seed=2):
    """The tensors of a decoder with four heads, in CTranslate2's names."""
    rng = np.random.default_rng(seed)
    shapes = {"embeddings/weight": (tokens, DIM), "position_encodings/encodings": (40, DIM),
              "layer_norm/gamma": (DIM,), "layer_norm/beta": (DIM,)}  # fmt: skip
    for i in range(LAYERS):
        for part, rows, columns in [
            ("self_attention/linear_0", 3 * DIM, DIM), ("self_attention/linear_1", DIM, DIM),
            ("attention/linear_0", DIM, DIM), ("attention/linear_1", 2 * DIM, DIM), ("attention/linear_2", DIM, DIM),
            ("ffn/linear_0", HIDDEN, DIM), ("ffn/linear_1", DIM, HIDDEN),
        ]:  # fmt: skip
            shapes |= {f"layer_{i}/{part}/weight": (rows, columns), f"layer_{i}/{part}/bias": (rows,)}
        for part in ("self_attention", "attention", "ffn"):
            shapes |= {f"layer_{i}/{part}/layer_norm/{name}": (DIM,) for name in ("gamma", "beta")}
    drawn = {n: rng.normal(scale=0.3, size=shape) + ("gamma" in n) for n, shape in shapes.items()}
    return {f"decoder/{n}": x.astype(np.float32) for n, x in drawn.items()} | {
        "decoder/num_heads": np.array(4, np.int16)
    }


@pytest.fixture(scope="module")
def whisper(tmp_path_factory):
    """A folder of faster-whisper."""
    folder = tmp_path_factory.mktemp("whisper")
    tensors = weights(DIM, LAYERS, HIDDEN) | decoder_weights(len(WORDS))
    (folder / "model.bin").write_bytes(model_bytes(tensors))
    data = {
        "model": {
            "vocab": {token: id for id, token in enumerate(WORDS[:-5])},
            "merges": [f"{a} {b}" for a, b in MERGES],
        },
        "added_tokens": [{"id": id, "content": WORDS[id]} for id in range(len(WORDS) - 5, len(WORDS))],
    }
    (folder / "tokenizer.json").write_text(json.dumps(data), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def opened(whisper):
    return file.open_whisper(str(whisper), "ko")


@pytest.fixture(scope="module")
def path(opened, tmp_path_factory):
    """The model in a file of ours."""
    path = tmp_path_factory.mktemp("attention") / "heard.safetensors"
    file.write(path, opened)
    return path


@torch.inference_mode()
def step_by_step(opened, samples, ids, begin):
    """The cost of tokens after the first `begin`: for each, the decoder reads all before it anew."""
    sound = opened.encoder.encode(torch.from_numpy(samples), opened.encoder.layers)
    offered, cost = opened.decoder.offered(sound[None]), 0.0
    for at in range(begin, len(ids)):
        causal = torch.ones(at, at, dtype=torch.bool).tril()
        logits = opened.decoder(torch.tensor([ids[:at]]), torch.arange(at), offered, causal)[0, -1]
        cost -= float(logits.double().log_softmax(0)[ids[at]])
    return cost


def test_costs_of_texts_that_share_beginnings(opened, monkeypatch, caplog):
    scorer, x = AttentionScorer(opened), noise(1.3, 4)
    texts = ["a b a", "a b b", "b", "", "a b a", "ab 가a", "a b a b ab"]
    wanted = [step_by_step(opened, x, scorer.encoded(text), 4) for text in texts]
    assert scorer.heard(x).costs(texts) == pytest.approx(wanted, abs=1e-4)
    monkeypatch.setattr("asr.lm.attention.scorer.MOST_NODES", 12)
    monkeypatch.setattr("asr.lm.attention.scorer.MOST_LOGITS", 3 * len(WORDS))
    assert scorer.heard(x).costs(texts) == pytest.approx(wanted, abs=1e-4)
    assert scorer.heard(noise(1.3, 5)).costs(["a b a"])[0] != pytest.approx(wanted[0], abs=1e-2)
    assert scorer.heard(x[:100]).costs(["a", "b"]) == [0.0, 0.0]  # too short for a frame
    assert scorer.heard(x).costs(["a", "a" * 99]) == [0.0, 0.0] and "a reading of 104 tokens is longer" in caplog.text
    with pytest.raises(InputError, match="needs the sound"):
        scorer.costs(["a"])


def test_all_tensors_are_where_the_model_is(opened):
    """On a GPU that this machine need not have: fake tensors have shapes and devices, and refuse to mix devices."""
    parts = {name: copy.deepcopy(part) for name, part in opened.parts.items()}
    with FakeTensorMode(allow_non_fake_inputs=True) as fake, torch.no_grad():
        for part in parts.values():
            part.apply(partial(faked, fake))
        heard = AttentionScorer(replace(opened, **parts)).heard(noise(1.3, 4))
        tree = Tree([[1, 2, 3], [1, 2, 4]], torch.device("cuda"))
        costs = heard.of_steps(tree, heard._offered)
    assert costs.device.type == "cuda" and costs.shape == (3,)


def faked(mode, module):
    for tensors in (module._parameters, module._buffers):
        for name, x in tensors.items():
            moved = mode.from_tensor(x.detach()).to("cuda")
            tensors[name] = torch.nn.Parameter(moved, False) if tensors is module._parameters else moved


def test_texts_are_spelled_and_vocabularies_cut(opened):
    own = opened.pieces
    assert [own.tokens[id] for id in own.encode("ab  a b")] == ["Ġab", "Ġa", "Ġb"]
    spelled = "".join(own.tokens[id] for id in own.encode("한 aé"))
    assert bytes(CHARACTERS.index(c) for c in spelled).decode() == " 한 aé"
    for texts in (["b a b"], ["b", "a"]):  # words in the same characters keep their tokens
        assert {*own.kept(texts, []).tokens} == {*CHARACTERS, END, "Ġa", "Ġb", "ab", "Ġab"}
    assert {*own.kept(["b" * 30_000 + " a"], []).tokens}.isdisjoint({"ab", "Ġab"})  # as one "a" among many is unusual
    part = own.kept(["b b"], beginning("ko"))
    assert len(part.tokens) == 256 + 1 + 1 + 4
    assert [part.tokens[id] for id in part.encode("ab b")] == ["Ġ", "a", "b", "Ġb"]
    cut = file.with_pieces(opened, part)
    row = opened.decoder.embeddings[own.ids["Ġb"]]
    assert torch.equal(cut.decoder.embeddings[part.ids["Ġb"]], row)
    for tokens, merges in [(WORDS[1:], []), ([*WORDS, "Ġ"], []), (WORDS, [("b", "b")])]:
        with pytest.raises(ValueError, match="token"):
            Pieces(tokens, merges)


def test_files_are_read_or_refused(opened, path, whisper, tmp_path):
    again, x = open_scorer(path), noise(1.0, 1)
    halved = AttentionScorer(file.read(path)).heard(x).costs(["a b"])
    assert again.heard(x).costs(["a b"]) == halved
    assert halved == pytest.approx(AttentionScorer(opened).heard(x).costs(["a b"]), abs=0.05)
    assert file.is_attention(path) and not file.is_attention(whisper / "model.bin")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    with pytest.raises(InputError, match="its content has changed .*; copy it again, or make it with `asr lm convert`"):
        file.parse(bytes(content), "x")
    for about in ([1], "x", 5, {"asr": 5}, {"asr": [1]}):
        header = json.dumps({"__metadata__": about}).encode()
        with pytest.raises(InputError, match="x is not a neural language model or is damaged"):
            parsed(len(header).to_bytes(8, "little") + header, "x")
    with pytest.raises(InputError, match="not a model of texts given their sound .its tokens do not fit"):
        damaged = replace(opened, pieces=opened.pieces.kept(["a"], beginning("ko")))
        file.write(tmp_path / "m.safetensors", damaged)
        file.read(tmp_path / "m.safetensors")
    with pytest.raises(InputError, match="its language is 'xx'"):
        file.write(tmp_path / "m.safetensors", replace(opened, language="xx"))
        file.read(tmp_path / "m.safetensors")
    with pytest.raises(InputError, match=r"does not know the token <\|en\|>"):
        file.open_whisper(str(whisper), "en")
    with pytest.raises(InputError, match=r"holds no model\.bin"):
        file.open_whisper(str(tmp_path), "ko")
    (tmp_path / "model.bin").write_bytes(model_bytes(weights(DIM, LAYERS, HIDDEN)))
    with pytest.raises(InputError, match="holds no decoder of Whisper"):
        file.open_whisper(str(tmp_path), "ko")
    (tmp_path / "tokenizer.json").write_text('{"model": {}}')
    with pytest.raises(InputError, match="is not the tokeniser"):
        pieces.read_tokenizer(tmp_path / "tokenizer.json", 5)


def test_readings_are_ranked_by_their_sound(recognizer, path, opened):
    second, scorer, changed = with_second(recognizer, path.parent, rescore=str(path)), open_scorer(path), 0
    plain = recognizer.searcher.decoder
    for seed in range(4):
        x = noise(1.0, seed)
        readings = plain.decode_lattice(recognizer.log_probs([x])[0]).lattice.nbest(100)
        texts = [recognizer.space.text(r.labels) for r in readings]
        costs = [r.acoustic_cost + r.graph_cost + 0.9 * new
                 for r, new in zip(readings, scorer.heard(x).costs(texts), strict=True)]  # fmt: skip
        found = second.transcribe(x, 16000)
        assert found.text == texts[int(np.argmin(costs))]
        changed += found.text != recognizer.transcribe(x, 16000).text
        stream = second.stream()
        for start in range(0, len(x), 3000):
            stream.accept(x[start : start + 3000], 16000)
        assert stream.finish().text == found.text
    assert changed
    assert second.transcribe(x, 16000, asr.DecodingOptions(rescore=False)).text == recognizer.transcribe(x, 16000).text
    with pytest.raises(InputError, match="needs the sound"):
        second.search("x", recognizer.log_probs([x])[0], 1.0)


def test_streams_keep_the_sound_of_their_pieces(folder, path, monkeypatch):
    """By a net that runs in streams, over features that do; each piece is ranked by its own sound."""
    cfg = config(cmvn="causal")
    cfg.model.bidirectional, cfg.model.lookahead = False, 3
    made = Recognizer(model(cfg), cfg, TOKENS, SearchSpace.read(folder / "graph", TOKENS))
    second, x = with_second(made, folder, rescore=str(path)), noise(2.0, 2)
    assert streamed.can_stream(second.model)
    heard, plain = [], AttentionScorer.heard
    monkeypatch.setattr(AttentionScorer, "heard", lambda self, x: heard.append(x) or plain(self, x))
    stream = second.stream()
    for start in range(0, len(x), 3000):
        stream.accept(x[start : start + 3000], 16000)
    assert stream.finish().text == second.transcribe(x, 16000).text
    assert len(heard) == 2 and all(np.array_equal(sound, x) for sound in heard)
    monkeypatch.setattr(streamed, "LONGEST_S", 0.6)
    monkeypatch.setattr(streamed, "MOST_S", 0.6)
    heard.clear()
    stream = second.stream()
    stream.accept(x, 16000)
    stream.finish()
    assert len(heard) > 2 and np.array_equal(np.concatenate(heard), x)


def test_a_recording_is_encoded_once(recognizer, path, monkeypatch):
    """Boosts take a second search, whose readings have the same sound."""
    second, encoded = with_second(recognizer, path.parent, rescore=str(path)), []
    encoder = second.rescorer.scorer.model.encoder
    monkeypatch.setattr(encoder, "encode", lambda *given, plain=encoder.encode: encoded.append(1) or plain(*given))
    boosted = asr.DecodingOptions(phrases={"a": 2.0})
    assert second.transcribe(noise(1.0, 2), 16000, boosted).words
    assert len(encoded) == 1


def test_what_is_refused(recognizer, path):
    second = with_second(recognizer, path.parent, rescore=str(path))
    with pytest.raises(InputError, match="scores whole texts, so it cannot rescore a lattice"):
        with_second(recognizer, path.parent, rescore=str(path), rescore_order=4)
    for values, message in [({"sample_rate_hz": 8000}, "hears sound at 16000 Hz"), ({"kind": "stored"}, "needs sound")]:
        cfg = replace(second.cfg, features=replace(second.cfg.features, **values))
        with pytest.raises(InputError, match=message):
            Recognizer(second.model, cfg, TOKENS, second.space)


def test_a_bundle_holds_the_model(recognizer, folder, path, tmp_path):
    second, x = with_second(recognizer, path.parent, rescore=str(path)), noise(1.0, 2)
    bundle.write(tmp_path / "model.asr", second.model, second.cfg, TOKENS, folder / "graph", "")
    assert asr.load(tmp_path / "model.asr").transcribe(x, 16000) == second.transcribe(x, 16000)


def utterances(folder, count=4):
    found = []
    for number in range(count):
        soundfile.write(folder / f"{number}.wav", noise(1.0, number), 16000)
        text = ["a b", "b a a"][number % 2]
        found.append(Utterance(f"u{number}", audio=str(folder / f"{number}.wav"), duration_s=1.0, text=text))
    return found


def test_tuning_and_decoding_read_the_sound(recognizer, path, tmp_path):
    second, dev = with_second(recognizer, path.parent, rescore=str(path)), utterances(tmp_path)
    sounds = [load_input(second.cfg, u) for u in dev]
    texts = [hypo.text for hypo in decode_utterances(second, dev, threads=1)]
    assert texts == [second.transcribe(str(u.audio)).text for u in dev]
    pairs = [(u.transcript, second.log_probs([x])[0]) for u, x in zip(dev, sounds, strict=True)]
    with ThreadPoolExecutor(1) as pool:
        found = tune_second_pass(second, second.cfg.decoder, pairs, "wer", pool, dev)
    point = next(p for p in found.points if (p.share, p.penalty) == (0.9, 0.0))
    errors = [error_counts(u.transcript, text, "wer").errors for text, u in zip(texts, dev, strict=True)]
    assert point.counts.errors == sum(errors) > 0


def test_a_whisper_that_is_not_converted_is_refused(whisper):
    with pytest.raises(InputError, match="make it a file with `asr lm convert"):
        open_scorer(whisper)


def test_a_whisper_is_converted(whisper, opened, tmp_path, capsys):
    (tmp_path / "lm.txt").write_text("a\na a\n")
    made = tmp_path / "m.safetensors"
    verb = ["lm", "convert", str(whisper)]
    assert main([*verb, str(made), "lang=ko", f"text={tmp_path / 'lm.txt'}"]) == 0
    part, x = file.read(made), noise(1.0, 3)
    assert part.pieces.tokens == opened.pieces.kept(["a a"], beginning("ko")).tokens
    assert f"{len(part.pieces.tokens)} tokens" in capsys.readouterr().out
    assert main([*verb, str(tmp_path / "all.safetensors"), "lang=ko"]) == 0
    whole = open_scorer(tmp_path / "all.safetensors")
    assert whole.heard(x).costs(["a a"])[0] > open_scorer(made).heard(x).costs(["a a"])[0]  # of more tokens
    for words, message in [
        ([*verb, str(made)], "name the language"),
        ([*verb, str(tmp_path / "x.trie"), "lang=ko"], r"ends in \.safetensors"),
        (["lm", "convert", str(tmp_path / "lm.txt"), str(made), "lang=ko"], "is for converting the folder"),
        (["lm", "convert", str(tmp_path / "none"), str(made), "lang=ko"], "there is no folder .*none; check the path"),
    ]:
        assert main(words) == 2
        assert re.search(message, capsys.readouterr().err)
