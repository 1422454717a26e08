"""LibriSpeech: 960 hours of English books read aloud; meant for a GPU.

The archives are downloaded if no folder in their layout is found:

    LibriSpeech/<part>/<speaker>/<chapter>/<speaker>-<chapter>.trans.txt   one "<id> <TEXT>" per line
    LibriSpeech/<part>/<speaker>/<chapter>/<id>.flac
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from tqdm import tqdm

from asr import manifest
from asr.cli.recipe import Recipe
from asr.config import Config
from asr.data import corpora
from asr.errors import InputError
from asr.features import audio
from asr.files import atomic_write
from asr.manifest import Utterance
from recipes import DOWNLOADS

PARTS = {
    "train": ["train-clean-100", "train-clean-360", "train-other-500"],
    "dev": ["dev-clean", "dev-other"],
    "test": ["test-clean"],
    "test-other": ["test-other"],
}
MIRROR = "https://www.openslr.org/resources/"
ARCHIVES = {
    "dev-clean-2": ("31/dev-clean-2.tar.gz", "md5:6d7ab67ac6a1d2c993d050e16d61080d"),
    "train-clean-5": ("31/train-clean-5.tar.gz", "md5:5df7d4e78065366204ca6845bb08f490"),
    "dev-clean": ("12/dev-clean.tar.gz", "sha256:76f87d090650617fca0cac8f88b9416e0ebf80350acb97b343a85fa903728ab3"),
    "dev-other": ("12/dev-other.tar.gz", "sha256:12661c48e8c3fe1de2c1caa4c3e135193bfb1811584f11f569dd12645aa84365"),
    "test-clean": ("12/test-clean.tar.gz", "sha256:39fde525e59672dc6d1551919b1478f724438a95aa55f874b576be21967e6c23"),
    "test-other": ("12/test-other.tar.gz", "sha256:d09c181bba5cf717b3dee7d4d592af11a3ee3a09e08ae025c5506f6ebe961c29"),
    "train-clean-100": (
        "12/train-clean-100.tar.gz",
        "sha256:d4ddd1d5a6ab303066f14971d768ee43278a5f2a0aa43dc716b0e64ecbbbf6e2",
    ),
    "train-clean-360": (
        "12/train-clean-360.tar.gz",
        "sha256:146a56496217e96c14334a160df97fffedd6e0a04e66b9c5af0d40be3c792ecf",
    ),
    "train-other-500": (
        "12/train-other-500.tar.gz",
        "sha256:ddb22f27f96ec163645d53215559df6aa36515f26e01dd70798188350adcb6d2",
    ),
}


def find_part(part: str, root: str | None) -> Path:
    """The folder of one part: below `LibriSpeech/` of the corpora folder, or downloaded."""
    folder = corpora.find("LibriSpeech", root)
    if folder and (folder / part).is_dir():
        return folder / part
    if root:
        raise InputError(f"data.root={root}/LibriSpeech has no folder '{part}'; download that part, or leave it out")
    path, digest = ARCHIVES[part]
    return corpora.fetch(MIRROR + path, digest, DOWNLOADS / f"librispeech-{part}") / "LibriSpeech" / part


def read_part(folder: Path) -> list[Utterance]:
    """Every utterance below a part's folder. A line without its recording is named and set aside."""
    transcripts = sorted(folder.glob("*/*/*.trans.txt"))
    if not transcripts:
        raise InputError(f"{folder} holds no <speaker>/<chapter>/*.trans.txt; expected LibriSpeech's layout")
    utterances = []
    for transcript in tqdm(transcripts, desc=folder.name, unit="chapter"):
        for number, line in enumerate(transcript.read_text(encoding="utf-8").splitlines(), 1):
            name, _, text = line.partition(" ")
            path = transcript.parent / f"{name}.flac"
            try:
                duration_s = audio.info(path).duration_s
            except InputError as e:
                tqdm.write(f"set aside {transcript}:{number}: {e}")
                continue
            speaker = name.split("-")[0]
            utterances.append(Utterance(name, str(path), None, 0.0, duration_s, text.lower(), speaker, "en"))
    return utterances


def write_splits(cfg: Config, parts: Mapping[str, Sequence[str]]) -> str:
    """Write `<split>.jsonl` for the parts of each split, and `lm.txt` with the training text, in `cfg.data.dir`."""
    out = Path(cfg.data.dir)
    for split, names in parts.items():
        utterances = [u for part in names for u in read_part(find_part(part, cfg.data.root))]
        manifest.write(out / f"{split}.jsonl", utterances)
        print(f"{split}: {len(utterances)} utterances, {sum(u.duration_s or 0 for u in utterances) / 3600:.1f} h")
        if split == "train":
            with atomic_write(out / "lm.txt") as file:
                file.writelines(u.transcript + "\n" for u in utterances)
    return f"real speech: LibriSpeech, {', '.join(name for names in parts.values() for name in names)}"


def prepare(cfg: Config) -> str:
    """Write the manifests of all parts and `lm.txt` in `cfg.data.dir`."""
    return write_splits(cfg, PARTS)


def build(recipe: Recipe) -> None:
    """Build the recogniser, then score it on the second test set, test-other."""
    recipe.build()
    other, hyp = f"{recipe.cfg.data.dir}/test-other.jsonl", f"{recipe.cfg.out}/decode/test-other/hyp.jsonl"
    recipe("decode", other)
    recipe("score", f"ref={other}", f"hyp={hyp}", f"dir={recipe.cfg.out}/score-other")
