"""Bundles: round trips, messages that name the damaged member, and refusal of hostile content."""

import hashlib
import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import TOKENS, config, graph_dir, model, noise

from asr.errors import InputError
from asr.recognizer import bundle
from asr.tokens import BLANK, Tokens

MEMBERS = [
    "model.safetensors", "config.json", "tokens.txt", "card.md", "graph.bin", "words.txt", "lexicon.txt",
    "checksums.json",
]  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundle")
    cfg = config(deltas=1, cmvn="global")
    cfg.decoder.beam = 9.5
    net = model(cfg)
    net.frontend.cmvn.set_stats(torch.arange(16.0), torch.arange(1.0, 17.0))
    graph = graph_dir(folder / "graph", silence="<space>")
    bundle.write(folder / "model.asr", net, cfg, TOKENS, graph, "# Carte d'identité 한국\n")
    return folder / "model.asr", net, cfg


def test_round_trip(made):
    path, net, cfg = made
    opened = bundle.read(path)
    assert opened.tokens == TOKENS and opened.card == "# Carte d'identité 한국\n"
    for group in ("features", "model", "decoder"):
        assert getattr(opened.cfg, group) == getattr(cfg, group)
    assert opened.cfg.tokens.unit == "char" and opened.space.silence == "<space>"
    assert opened.space.words == ["<eps>", "a", "b"] and opened.space.lexicon.pronunciations["a"] == [("a",)]
    assert opened.space.graph.num_states == 3
    assert all(torch.equal(t, opened.model.state_dict()[name]) for name, t in net.state_dict().items())
    x, lengths = torch.from_numpy(noise(0.5))[None], torch.tensor([8000])
    with torch.inference_mode():
        assert torch.equal(net(x, lengths)[0], opened.model(x, lengths)[0])


def test_without_a_graph(tmp_path):
    cfg = config()
    bundle.write(tmp_path / "m.asr", model(cfg), cfg, TOKENS, None, "")
    assert bundle.read(tmp_path / "m.asr").space is None


def test_same_input_same_bytes(made, tmp_path):
    path, net, cfg = made
    os.utime(path.parent / "graph/graph.bin", (0, 0))
    cfg.data.root = "/somewhere/else"
    bundle.write(tmp_path / "again.asr", net, cfg, TOKENS, path.parent / "graph", "# Carte d'identité 한국\n")
    assert (tmp_path / "again.asr").read_bytes() == path.read_bytes()


def test_members_are_stored_aligned_and_whole(made):
    path = made[0]
    data = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None and archive.namelist() == MEMBERS
        for name in MEMBERS:
            content = archive.read(name)
            at = data.index(content)
            assert at % bundle.ALIGNMENT == 0 and data[at : at + len(content)] == content


def member_range(path, name):
    with zipfile.ZipFile(path) as archive:
        content = archive.read(name)
    start = path.read_bytes().index(content)
    return start, len(content)


@pytest.mark.parametrize("name", MEMBERS)
def test_a_flipped_byte_names_file_and_member(made, tmp_path, name):
    start, size = member_range(made[0], name)
    rng = np.random.default_rng(1)
    for at in {0, size - 1, *rng.integers(0, size, 5).tolist()}:
        bad = flipped(made[0], tmp_path / "bad.asr", start + at, 1 << rng.integers(8))
        with pytest.raises(InputError, match=f"bad.asr: member {name} is damaged"):
            bundle.read(bad)


def flipped(path, to, at, bits):
    data = bytearray(path.read_bytes())
    data[at] ^= int(bits)
    to.write_bytes(data)
    return to


def test_any_flipped_bit_is_refused_or_harmless(made, tmp_path):
    """Also in the zip's own headers and padding: an InputError, or the very same recogniser."""
    path, net, _ = made
    rng = np.random.default_rng(2)
    spans = [member_range(path, name) for name in MEMBERS]
    outside = [i for i in range(path.stat().st_size) if not any(s <= i < s + n for s, n in spans)]
    refused = 0
    for at in rng.choice(outside, 200, replace=False).tolist():
        try:
            opened = bundle.read(flipped(path, tmp_path / "bad.asr", at, 1 << rng.integers(8)))
        except InputError:
            refused += 1
        else:
            assert opened.tokens == TOKENS and opened.space.words == ["<eps>", "a", "b"]
            assert all(torch.equal(t, opened.model.state_dict()[name]) for name, t in net.state_dict().items())
    assert refused > 30


def test_every_truncation_is_refused(made, tmp_path):
    data = made[0].read_bytes()
    for size in np.linspace(0, len(data) - 1, 40).astype(int):
        (tmp_path / "cut.asr").write_bytes(data[:size])
        with pytest.raises(InputError, match="cut.asr"):
            bundle.read(tmp_path / "cut.asr")


def rewritten(path, to, changes, compression=zipfile.ZIP_STORED, sums=True):
    """The bundle with members replaced (None: left out), its checksums made right again."""
    with zipfile.ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in MEMBERS} | changes
    contents = {name: content for name, content in contents.items() if content is not None}
    digests = {name: hashlib.sha256(c).hexdigest() for name, c in contents.items() if name != "checksums.json"}
    if "checksums.json" not in changes:
        contents["checksums.json"] = json.dumps({"format": 1, "sha256": digests}).encode()
    with zipfile.ZipFile(to, "w", compression) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return to


def changed_config(path, **changes):
    with zipfile.ZipFile(path) as archive:
        return json.dumps(json.loads(archive.read("config.json")) | changes).encode()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"../../etc/passwd": b"x"}, "member ../../etc/passwd is missing or does not belong"),
        ({"model.pkl": b"x"}, "member model.pkl is missing or does not belong"),
        ({"tokens.txt": None}, "member tokens.txt is missing"),
        ({"words.txt": None}, "member words.txt is missing"),
        ({"graph.bin": None}, "member lexicon.txt is missing or does not belong"),
        ({"checksums.json": None}, "member checksums.json is missing"),
        ({"checksums.json": b"{}"}, "member checksums.json is not what"),
        ({"checksums.json": b"[" * 100000}, "member checksums.json is not what"),
        ({"config.json": b"{}"}, "member config.json is not of this version"),
        ({"config.json": b"[" * 100000}, "member config.json is not of this version"),
        ({"model.safetensors": b"\x80\x04."}, "member model.safetensors cannot be read"),
        ({"tokens.txt": b"<blk>\na\n"}, "does not fit config.json"),
        ({"card.md": b"\xff"}, "member card.md is not UTF-8"),
        ({"graph.bin": b"x" * 100}, "graph"),
        ({"lexicon.txt": b"a\n"}, "lexicon.txt:1"),
    ],
)
def test_odd_members_are_refused(made, tmp_path, changes, says):
    with pytest.raises(InputError, match=says):
        bundle.read(rewritten(made[0], tmp_path / "odd.asr", changes))


def test_hostile_configurations_are_refused(made, tmp_path):
    def refuse(says, **changes):
        changes = {"config.json": changed_config(made[0], **changes)}
        with pytest.raises(InputError, match=says):
            bundle.read(rewritten(made[0], tmp_path / "odd.asr", changes))

    cfg = bundle._config_data(made[2], None)
    refuse("not of this version", model=cfg["model"] | {"_target_": "os.system"})
    refuse("not of this version", decoder=cfg["decoder"] | {"beam": "wide"})
    refuse("reference", model=cfg["model"] | {"kind": "${oc.env:HOME}"})
    refuse("does not fit", model=cfg["model"] | {"hidden": 1 << 20})  # terabytes if it were built
    refuse("choose one of", model=cfg["model"] | {"kind": "os.system"})


def test_compressed_double_and_later_bundles_are_refused(made, tmp_path):
    bomb = {"card.md": bytes(10_000_000)}
    with pytest.raises(InputError, match="is compressed"):
        bundle.read(rewritten(made[0], tmp_path / "bomb.asr", bomb, zipfile.ZIP_DEFLATED))
    double = rewritten(made[0], tmp_path / "double.asr", {})
    with zipfile.ZipFile(double, "a") as archive, pytest.warns(UserWarning):
        archive.writestr("card.md", b"again")
    with pytest.raises(InputError, match="twice"):
        bundle.read(double)
    with zipfile.ZipFile(made[0]) as archive:
        later = json.dumps(json.loads(archive.read("checksums.json")) | {"format": 2}).encode()
    with pytest.raises(InputError, match="format 2"):
        bundle.read(rewritten(made[0], tmp_path / "later.asr", {"checksums.json": later}))


def test_limits(made, tmp_path, monkeypatch):
    with pytest.raises(InputError, match="more than the limit of 1000"):
        bundle.read(made[0], max_bytes=1000)
    monkeypatch.setattr(bundle, "MAX_TEXT_BYTES", 10)
    with pytest.raises(InputError, match="too large"):
        bundle.read(made[0])


@pytest.mark.parametrize("content", [None, b"", b"not a zip at all", b"PK\x05\x06" + bytes(18)])
def test_other_files_are_refused_as_bundles(tmp_path, content):
    path = tmp_path / "other.asr"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match="other.asr"):
        bundle.read(path)
    with pytest.raises(InputError):
        bundle.read(Path(tmp_path))


def test_graphs_that_do_not_fit_are_not_written(made, tmp_path):
    _, net, cfg = made
    other = graph_dir(tmp_path / "graph", [BLANK, "b", "a"])
    with pytest.raises(InputError, match="another token set"):
        bundle.write(tmp_path / "m.asr", net, cfg, TOKENS, other, "")
    (graph_dir(tmp_path / "graph") / "lexicon.txt").unlink()
    with pytest.raises(InputError, match="lexicon.txt"):
        bundle.write(tmp_path / "m.asr", net, cfg, TOKENS, tmp_path / "graph", "")
    with pytest.raises(InputError, match="4 outputs, the token table 3"):
        bundle.write(tmp_path / "m.asr", net, cfg, Tokens([BLANK, "a", "b"]), None, "")
    assert [p.name for p in tmp_path.iterdir()] == ["graph"]


def test_large_members_get_zip64_and_stay_aligned(made, tmp_path, monkeypatch):
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 500)
    path, net, cfg = made
    bundle.write(tmp_path / "big.asr", net, cfg, TOKENS, path.parent / "graph", "")
    test_members_are_stored_aligned_and_whole((tmp_path / "big.asr",))
    assert bundle.read(tmp_path / "big.asr").space.graph.num_states == 3
