"""`asr transcribe -` and `--microphone`: words while the sound arrives."""

import io
import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny import TOKENS, config, graph_dir, model, noise

import asr
from asr.cli import live
from asr.cli.main import main
from asr.recognizer import bundle


@pytest.fixture(scope="module")
def model_path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("live")
    cfg = config(cmvn="none")
    cfg.model.kind = "linear"
    made = model(cfg)
    output = made.net.output.linear
    with torch.no_grad():  # low sounds are `a`, high ones `b`, and digital silence is blank
        output.weight.copy_(torch.kron(torch.ones(3), torch.eye(2).repeat_interleave(4, 1)).repeat(2, 1) / 12)
        output.weight[:2] = 0
        output.bias.copy_(torch.tensor([5.0, -50.0, 0.0, 0.0]))
    bundle.write(folder / "model.asr", made, cfg, TOKENS, graph_dir(folder / "graph"), "# tiny")
    return str(folder / "model.asr")


def hear(monkeypatch, data, is_terminal=False):
    stdin = SimpleNamespace(buffer=io.BytesIO(data), isatty=lambda: is_terminal)
    monkeypatch.setattr(sys, "stdin", stdin)


def with_pause():
    """Sound, 3 s of silence, sound: int16."""
    return np.concatenate([noise(1.5), np.zeros(48000, np.float32), noise(1.2, 1)]) * 32767


@pytest.mark.parametrize(("encoding", "kind", "scale"), [("s16le", "<i2", 1), ("f32le", "<f4", 32768)])
def test_each_utterance_becomes_a_line(model_path, monkeypatch, capsys, encoding, kind, scale):
    hear(monkeypatch, (with_pause() / scale).astype(kind).tobytes())
    assert main(["transcribe", model_path, "-", "rate=16000", f"encoding={encoding}", "format=jsonl", "silence=2"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["id"] for line in lines] == ["0", "1"]
    assert lines[1]["words"][0]["start_s"] > 3.0
    first = asr.load(model_path).transcribe(noise(1.5), 16000)
    assert lines[0]["text"].split()[: len(first.words) - 1] == first.text.split()[:-1]


def test_a_terminal_shows_the_words_so_far(model_path, monkeypatch, capsys):
    hear(monkeypatch, with_pause().astype("<i2").tobytes())
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert main(["transcribe", model_path, "-", "silence=2"]) == 0
    out = capsys.readouterr().out
    lines = [line.rpartition("\r\033[K")[2] for line in out.removesuffix("\n").split("\n")]
    assert out.count("\r\033[K") > 10 and len(lines) == 2 and all(lines)


@pytest.mark.parametrize(
    ("words", "data", "message"),
    [
        (["-"], b"RIFF" + bytes(5000), "is a wav file; name the file"),
        (["-"], bytes(3201), "ends within a sample"),
        (["-", "speech.wav"], b"", "one of -, speech.wav"),
        (["-", "--microphone"], b"", "one of --microphone, -"),
        (["-", "output=x.txt"], b"", "redirect the standard output"),
        (["-", "format=srt"], b"", "choose txt or jsonl"),
        (["-", "rate=5"], b"", "live.rate=5"),
        (["-", "vad=loud"], b"", "live.vad=loud"),
    ],
)
def test_wrong_calls_get_a_sentence(model_path, monkeypatch, capsys, words, data, message):
    hear(monkeypatch, data)
    assert main(["transcribe", model_path, *words]) == 2
    assert message in capsys.readouterr().err


def test_a_terminal_is_no_sound(model_path, monkeypatch, capsys):
    hear(monkeypatch, b"", is_terminal=True)
    assert main(["transcribe", model_path, "-"]) == 2
    assert "pipe sound into it" in capsys.readouterr().err


def test_no_sound_has_no_words(model_path, monkeypatch, capsys):
    hear(monkeypatch, b"")
    assert main(["transcribe", model_path, "-"]) == 0
    assert capsys.readouterr().out == ""


class Microphone:
    """sounddevice's InputStream, which Ctrl-C stops."""

    def __init__(self, samplerate, channels, dtype):
        assert (samplerate, channels, dtype) == (44100.0, 1, "float32")
        self.blocks = iter(np.split(noise(2.0, 0, 44100), 20))

    def start(self):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def read(self, size):
        assert size == 4410
        block = next(self.blocks, None)
        if block is None:
            raise KeyboardInterrupt
        return block[:, None], True


def sounddevice(**attributes):
    found = {"InputStream": Microphone, "query_devices": lambda kind: {"default_samplerate": 44100.0}}
    return SimpleNamespace(**{**found, "PortAudioError": RuntimeError, **attributes})


def test_the_microphone_is_heard_until_ctrl_c(model_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "sounddevice", sounddevice())
    assert main(["transcribe", model_path, "--microphone", "silence=9"]) == 0
    out, err = capsys.readouterr()
    assert out == asr.load(model_path).transcribe(noise(2.0, 0, 44100), 44100).text + "\n"
    assert err.count("sound was lost") == 1


def no_device(kind):
    raise RuntimeError("Error querying device -1")


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (None, "needs sounddevice: pip install 'sounddevice"),
        (sounddevice(query_devices=no_device), "no microphone can be opened"),
    ],
)
def test_without_a_microphone_there_is_a_sentence(model_path, monkeypatch, capsys, module, message):
    monkeypatch.setitem(sys.modules, "sounddevice", module)
    assert main(["transcribe", model_path, "--microphone"]) == 2
    assert message in capsys.readouterr().err


def test_microphone_is_an_option_of_transcribe_alone(capsys):
    assert main(["doctor", "--microphone"]) == 2
    assert "microphone" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "columns", "fits"),
    [("one two", 7, "one two"), ("one two", 3, "two"), ("가나다", 4, "나다"), ("가나다", 5, "나다"), ("", 5, "")],
)
def test_the_end_of_a_long_line_is_shown(text, columns, fits):
    assert live.fitting(text, columns) == fits
