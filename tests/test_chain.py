"""The table of benchmarks/chain.py: errors of several run folders, and differences of its rows."""

import json

import pytest

from asr.errors import InputError
from benchmarks.chain import differences, pool, print_differences, print_table

TEXTS = {"a": "one two three four", "b": "five six seven eight", "c": "one three five seven"}


def row(folder, name, hypotheses, speakers):
    """A finished row whose test set has these texts; `speakers`: of each utterance, None for none."""
    place = folder / name
    for part in ("score", "decode/test"):
        (place / part).mkdir(parents=True)
    (folder / "test.jsonl").write_text("".join(json.dumps({"id": i, "text": t}) + "\n" for i, t in TEXTS.items()))
    (place / "decode/test/hyp.jsonl").write_text(
        "".join(json.dumps({"id": i, "text": t}) + "\n" for i, t in hypotheses.items())
    )
    of_speaker = {}
    for id, speaker in (speakers or {}).items():
        right = sum(a == b for a, b in zip(TEXTS[id].split(), hypotheses[id].split(), strict=True))
        found = of_speaker.setdefault(speaker, {"correct": 0, "substitutions": 0, "deletions": 0, "insertions": 0})
        found["correct"] += right
        found["substitutions"] += 4 - right
    (place / "score/score.json").write_text(
        json.dumps(
            {"reference": str(folder / "test.jsonl"), "speakers": {s: {"words": n} for s, n in of_speaker.items()}}
        )
    )
    dev = {"counts": {"correct": 9, "substitutions": 1, "deletions": 0, "insertions": 0}}
    (place / "row.json").write_text(json.dumps({"dev": dev, "minutes": 2.0}))


def wrong(count):
    """Hypotheses with so many wrong words each."""
    return {id: " ".join(["no"] * count + text.split()[count:]) for id, text in TEXTS.items()}


def test_rows_are_compared_with_the_one_before_and_the_first(tmp_path, capsys):
    """Each utterance has one wrong word fewer per row, so each resample has the same difference."""
    speakers = {"a": "ann", "b": "bob", "c": "ann"}
    folders = [tmp_path / "0", tmp_path / "1"]
    for folder in folders:
        for count, name in ((3, "mono"), (2, "tri"), (1, "sat")):
            row(folder, name, wrong(count), speakers)
    for by, size in (("speaker", 2), ("utterance", 6)):  # a speaker of both folders counts once
        rows = pool(folders, by)
        assert [rows[name]["score"]["wer"] for name in ("mono", "tri", "sat")] == [0.75, 0.5, 0.25]
        assert {len(found["units"]) for found in rows.values()} == {size}
        found = {title: [(c.difference, *c.interval) for c in others] for title, others in differences(rows)}
        assert found == {"states in context": [(-0.25,) * 3], "fMLLR for each speaker": [(-0.25,) * 3, (-0.5,) * 3]}
    print_table(rows)
    print_differences(rows)
    printed = capsys.readouterr().out
    assert "| fMLLR for each speaker | 10.0 % | 25.0 % (25.0-25.0) | S 6 D 0 I 0 | 2.0 |" in printed
    assert "| fMLLR for each speaker | -25.0 (-25.0 to -25.0) | -50.0 (-50.0 to -50.0) |" in printed


def test_what_cannot_be_compared_is_told(tmp_path):
    row(tmp_path / "0", "mono", wrong(1), None)
    with pytest.raises(InputError, match="has no speakers; .* --by utterance"):
        pool([tmp_path / "0"])
    row(tmp_path / "0", "tri", wrong(0), {"a": "ann", "b": "bob", "c": "bob"})
    assert len(pool([tmp_path / "0"], "utterance")) == 2
    rows = pool([tmp_path / "0"], "utterance")
    del rows["tri"]["units"]["0 a"]
    with pytest.raises(InputError, match="not been tested on the same utterances"):
        list(differences(rows))
    with pytest.raises(InputError, match="no row has been run in all of"):
        pool([tmp_path / "1"])
