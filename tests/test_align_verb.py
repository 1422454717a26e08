"""`asr align` of a model whose words have known times: formats, files, pronunciations, and what is set aside."""

import json
import shutil

import numpy as np
import pytest
import soundfile
import tone_net

from asr import manifest
from asr.align.files import format_of
from asr.cli.main import main
from asr.errors import InputError
from asr.manifest import Utterance

pytest.importorskip("onnxruntime", reason="the model of tones is run by onnxruntime")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """A bundle of the model of tones, and a manifest of ten utterances, one with a wrong text and one without sound."""
    folder = tmp_path_factory.mktemp("align")
    assert main(["import", str(tone_net.write_model(folder)), f"output={folder}/m.asr"]) == 0
    rng = np.random.default_rng(2)
    utterances, said = [], {}
    for number in range(8):
        id = f"talks/t{number}" if number < 4 else f"u {number}"
        said[id] = tone_net.say(tone_net.new_words(6, rng), rng)
        soundfile.write(folder / f"{number}.wav", said[id].samples, tone_net.RATE_HZ)
        utterances.append(Utterance(id, str(folder / f"{number}.wav"), text=said[id].text))
    utterances[5].text = utterances[5].text.replace(said["u 5"].words[2][0], "jjjjj")
    utterances.append(Utterance("gone", str(folder / "none.wav"), text="abc"))
    utterances.append(Utterance("long text", str(folder / "0.wav"), text="abcdefghij " * 40))
    manifest.write(folder / "test.jsonl", utterances)
    return folder, said


@pytest.fixture
def work(corpus, tmp_path, monkeypatch):
    folder, said = corpus
    for name in ("m.asr", "test.jsonl"):
        shutil.copy(folder / name, tmp_path)
    data = (tmp_path / "test.jsonl").read_text().replace('"audio": "', f'"audio": "{folder}/')
    (tmp_path / "test.jsonl").write_text(data)
    monkeypatch.chdir(tmp_path)
    return said


def check_words(found, words, tolerance_s=0.03):
    """`found`: (start, end, word), where the words sound."""
    assert [word for _, _, word in found] == [word for word, _, _ in words]
    late = np.array([(start_s - s, end_s - e) for (start_s, end_s, _), (_, s, e) in zip(found, words, strict=True)])
    assert np.abs(late).max() <= tolerance_s


def test_every_format_has_the_words_where_they_sound(work, tmp_path, capsys, caplog):
    said = work
    align = ["align", "m.asr", "test.jsonl", "align.lead_s=0", "align.tail_s=0"]
    assert main([*align, "output=out.jsonl"]) == 0
    printed = capsys.readouterr().out
    assert "aligned 8 utterances" in printed and "2 set aside" in printed and "1 suspicious" in printed
    found = {u.id: u for u in manifest.read("out.jsonl")}
    assert list(found) == list(said)
    good = [id for id in said if id != "u 5"]
    for id in good:
        alignment = found[id].extra["alignment"]
        check_words([(w["start_s"], w["end_s"], w["word"]) for w in alignment["words"]], said[id].words)
        assert alignment["score"] > 0.9 and alignment["remarks"] == []
        for word in alignment["words"]:
            assert [token["token"] for token in word["tokens"]] == list(word["word"]) and word["score"] > 0.5
    bad = found["u 5"].extra["alignment"]
    assert bad["score"] < 0.9 and "'jjjjj'" in bad["remarks"][0]
    rows = (tmp_path / "out.jsonl.suspicious.tsv").read_text().splitlines()
    assert rows[0] == "id\tscore\tremark" and rows[1].startswith("u_5\t") and "jjjjj" in rows[1]

    assert main([*align, "output=out.ctm"]) == 0
    lines = [line.split() for line in (tmp_path / "out.ctm").read_text().splitlines()]
    assert [line[0] for line in lines] == sorted(line[0] for line in lines)
    for id in good:
        own = [line for line in lines if line[0] == id.replace(" ", "_")]
        check_words([(float(s), float(s) + float(d), word) for _, _, s, d, word, _ in own], said[id].words)
    assert main([*align, "output=tokens.ctm", "level=tokens"]) == 0
    letters = [line.split()[4] for line in (tmp_path / "tokens.ctm").read_text().splitlines() if line.startswith("u_4")]
    assert "".join(letters) == said["u 4"].text.replace(" ", "")

    textgrid = pytest.importorskip("praatio.textgrid")
    assert main([*align, "output=grids/"]) == 0
    assert main([*align[:3], "output=grids/"]) == 0  # other edges
    assert "files in grids/, which had other content" in caplog.text
    assert main([*align, "output=grids/"]) == 0
    assert sorted(p.name for p in (tmp_path / "grids/talks").iterdir()) == [f"t{n}.TextGrid" for n in range(4)]
    assert (tmp_path / "grids/suspicious.tsv").exists()
    for id in good:
        path = tmp_path / "grids" / f"{id}.TextGrid"
        grid = textgrid.openTextgrid(str(path), includeEmptyIntervals=False, reportingMode="error")
        check_words([(e.start, e.end, e.label) for e in grid.getTier("words").entries], said[id].words)
        labels = [e.label for e in grid.getTier("tokens").entries]
        assert "".join(labels) == said[id].text.replace(" ", "")
        assert grid.maxTimestamp == pytest.approx(len(said[id].samples) / tone_net.RATE_HZ)


def test_pronunciations_compete_unknown_words_are_any_sound_and_fillers_may_be_heard(work, tmp_path, capsys):
    rng = np.random.default_rng(4)
    said = tone_net.say(["abc", "hh", "def", "ghi", "cab"], rng)
    soundfile.write("x.wav", said.samples, tone_net.RATE_HZ)
    manifest.write("x.jsonl", [Utterance("x", "x.wav", text="one two ??? cab")])
    (tmp_path / "lexicon.txt").write_text("one j j\none a b c\ntwo d e f\ntwo d f\nuh h h\ncab c a b\n")
    align = ["align", "m.asr", "x.jsonl", "lexicon=lexicon.txt", "align.lead_s=0", "align.tail_s=0"]
    assert main([*align, "output=x.ctm", "fillers=uh"]) == 0
    printed = capsys.readouterr().out
    assert "1 words without a pronunciation stand for any sound: ???; `asr text clean` makes" in printed
    lines = [line.split() for line in (tmp_path / "x.ctm").read_text().splitlines()]
    wanted = [(word, s, e) for word, (_, s, e) in zip(["one", "uh", "two", "???", "cab"], said.words, strict=True)]
    check_words([(float(s), float(s) + float(d), word) for _, _, s, d, word, _ in lines], wanted)
    assert float(lines[3][5]) == 0
    assert main([*align, "output=x.jsonl.out.jsonl"]) == 0  # without fillers the sound is named
    found = json.loads((tmp_path / "x.jsonl.out.jsonl").read_text())["alignment"]
    assert [w["word"] for w in found["words"]] == ["one", "two", "???", "cab"]
    assert [t["token"] for t in found["words"][0]["tokens"]] == list("abc")
    assert found["words"][2]["is_unknown"] and "is_filler" not in found["words"][0]


def test_inputs_are_kept_and_wrong_calls_are_refused(work, tmp_path, capsys):
    before = (tmp_path / "test.jsonl").read_bytes()
    (tmp_path / "l.txt").write_text("abc X Y\n")
    manifest.write("bad.jsonl", [u for u in manifest.read("test.jsonl") if u.id == "u 5"])
    for words, message in {
        "m.asr test.jsonl": "output= is missing",
        "m.asr output=x.ctm": "needs a manifest",
        "m.asr test.jsonl output=test.jsonl": "also an input",
        "m.asr test.jsonl test.jsonl output=x.ctm": "two manifests",
        "m.asr test.jsonl output=x.ctm lexicon=l.txt": "units (X, Y) are not those of the model",
        "m.asr test.jsonl output=x.ctm silence=SIL": "graph.silence=SIL is not a token of the model",
        "m.asr bad.jsonl output=x.ctm min_score=0.9": "none of the 1 utterances could be aligned",
        "typo.asr test.jsonl output=x.ctm": "typo.asr",
    }.items():
        assert main(["align", *words.split()]) == 2, words
        assert message in capsys.readouterr().err, words
    assert (tmp_path / "test.jsonl").read_bytes() == before and not list(tmp_path.glob("x.*"))


def test_a_run_folder_without_a_graph_aligns_as_its_bundle(work, corpus, tmp_path):
    assert main(["import", str(corpus[0] / "tones.yaml"), "out=run"]) == 0
    for number, model in enumerate(("m.asr", "run", "out=run")):
        words = ["bundle=run"] if model == "run" else [model]
        assert main(["align", *words, "test.jsonl", f"output={number}.ctm"]) == 0
    assert (tmp_path / "0.ctm").read_bytes() == (tmp_path / "1.ctm").read_bytes() == (tmp_path / "2.ctm").read_bytes()


def test_ids_that_are_one_name_are_refused(work, capsys):
    manifest.write("twice.jsonl", [Utterance(id, "0.wav", text="a") for id in ("a b", "a_b", "A_B", "a_b/c")])
    assert main(["align", "m.asr", "twice.jsonl", "output=x.ctm"]) == 2
    assert "'a b' and 'a_b' are one name" in capsys.readouterr().err
    assert main(["align", "m.asr", "twice.jsonl", "output=grids/"]) == 2
    assert "would be written to one file" in capsys.readouterr().err


@pytest.mark.parametrize("output", ["a.jsonl", "grids/"])
def test_a_level_without_effect_is_refused(work, output, capsys):
    assert main(["align", "m.asr", "test.jsonl", f"output={output}", "level=tokens"]) == 2
    assert "align.level=tokens is for a CTM" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("format", "output", "found"),
    [
        ("auto", "x.ctm", "ctm"),
        ("auto", "x.JSONL", "jsonl"),
        ("auto", "x/", "textgrid"),
        ("auto", "x", "textgrid"),
        ("textgrid", "x.y/", "textgrid"),
        ("ctm", "x.txt", "ctm"),
        ("auto", "x.srt", "FILE.jsonl, FILE.ctm or FOLDER/"),
        ("auto", "x.TextGrid", "FILE.jsonl, FILE.ctm or FOLDER/"),
        ("srt", "x.srt", "format=srt"),
        ("textgrid", "x.ctm", "output=FOLDER/"),
        ("ctm", "folder/", "output=FILE.ctm"),
    ],
)
def test_the_format_is_told_by_the_option_or_the_suffix(format, output, found):
    if " " not in found and "=" not in found:
        assert format_of(format, output) == found
        return
    with pytest.raises(InputError, match=found):
        format_of(format, output)
