"""Draws docs/rooms.svg: the rooms of asr/ on their floors, read from the import contract in pyproject.toml.

python docs/rooms.py
"""

import ast
from pathlib import Path

HERE = Path(__file__).parent
PURPOSES = {
    "cli": "verbs, options, help",
    "integrations": "our search behind other interfaces",
    "serve": "HTTP, WebSockets, modes, keys",
    "flywheel": "log of requests; choosing, watching",
    "report": "a run as one HTML page",
    "align": "times of words and tokens; cutting long recordings",
    "evaluation": "error rates, tuning, calibration",
    "recognizer": "audio to words; bundle",
    "g2p": "spelling to pronunciation",
    "punctuation": "marks, capitals",
    "hmm": "GMM-HMM: alignments, trees, mixtures",
    "search": "beam search, lattices, confidences",
    "training": "trainer, exact resume",
    "graph": "H, L, G; static and dynamic",
    "data": "importers, check, batches",
    "text": "clean-up, units, lexicon",
    "lm": "n-gram models",
    "models": "fc, cnn, lstm, conformer, ebranchformer, linear, gmm",
    "features": "audio, front end, normalisation",
    "criteria": "CTC, cross-entropy, LF-MMI, MWER, sMBR",
}
WIDTH, HEIGHT, GAP = 860, 46, 8


def main() -> None:
    text = (HERE.parent / "pyproject.toml").read_text()
    listed = text[text.index("layers = [") + len("layers = ") :]
    floors = [row.split(" : ") for row in ast.literal_eval(listed[: listed.index("]") + 1])]
    height = len(floors) * (HEIGHT + GAP) + GAP
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif">',
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
    ]
    for number, floor in enumerate(floors):
        y = GAP + number * (HEIGHT + GAP)
        width = (WIDTH - GAP * (len(floor) + 1)) / len(floor)
        for place, room in enumerate(floor):
            parts.append(_box(room, GAP + place * (width + GAP), y, width))
    (HERE / "rooms.svg").write_text("\n".join([*parts, "</svg>"]) + "\n")


def _box(room: str, x: float, y: float, width: float) -> str:
    purpose = PURPOSES.get(room, "")
    fill = "#e8eefc" if purpose else "#f3f3f3"
    middle = x + width / 2
    name_y = y + (20 if purpose else 28)
    box = f'<rect x="{x:.0f}" y="{y}" width="{width:.0f}" height="{HEIGHT}" rx="4" fill="{fill}" stroke="#99a"/>'
    name = f'<text x="{middle:.0f}" y="{name_y}" text-anchor="middle" font-size="14" font-weight="bold">{room}</text>'
    note = f'<text x="{middle:.0f}" y="{y + 37}" text-anchor="middle" font-size="11" fill="#445">{purpose}</text>'
    return box + name + (note if purpose else "")


if __name__ == "__main__":
    main()
