"""English phones on Whisper's encoder: readers, prompts, and speakers whom Whisper itself transcribed.

Whisper transcribes 248 speakers; utterances of which it is sure are trained on. The language model and its texts are
those of the recipe english_import.
"""

from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from asr import manifest
from asr.cli.recipe import VERBS, Recipe
from asr.config import Config, G2pConfig
from asr.data import corpora
from asr.errors import InputError
from asr.features import audio
from asr.g2p.pronunciation import guesser
from asr.manifest import Utterance
from asr.text.clean import clean
from asr.text.lexicon import Lexicon
from asr.text.spoken import spoken
from recipes.encoders import fetch_whisper_base
from recipes.whisper import RATE_HZ, Whisper

LANGUAGE = Path("exp/english_import")  # whose language model is used
DEV = ("496",)  # chapters of libri_en
STRANGERS = 10  # every tenth of those utterances is dev: the decoder's scales are chosen for voices not trained on
SURE = 0.6  # confidence of the transcript of an utterance that is trained on
PAD_S = 0.5  # of quiet noise around clips of single words: 76 instead of 63 % of fsdd's digits right
OTHERS = ("timit_en", "commands_en")  # further test sets


def prepare(cfg: Config) -> str:
    """Write `{train,dev,test}.jsonl`, `timit_en.jsonl`, `commands_en.jsonl` and `lexicon.txt` in `cfg.data.dir`."""
    if not (LANGUAGE / "model.asr").exists():
        raise InputError(f"{LANGUAGE}/model.asr is missing; run `python -m recipes.run english_import` first")
    encoder = fetch_whisper_base()
    out, root = Path(cfg.data.dir), cfg.data.root
    books, prompts = read("libri_en", root), read("prompts_en", root)
    heard = transcribe(read("libri_en_untranscribed", root), encoder, out / "heard.jsonl")
    sure = [u for u in heard if u.text and u.extra["confidence"] >= SURE]
    strangers = sure[::STRANGERS]
    dev = [u for u in books if u.extra["chapter"] in DEV] + [u for u in prompts if u.extra["split"] == "dev"]
    held_out = {u.id for u in [*dev, *strangers]}
    known = [u for u in [*books, *prompts] if u.extra["split"] == "train"]
    train = [u for u in [*known, *sure] if u.id not in held_out]
    manifest.write(out / "train.jsonl", [replace(u, extra={}) for u in train])
    manifest.write(out / "dev.jsonl", [replace(u, extra={}) for u in [*dev, *strangers]])
    manifest.write(out / "test.jsonl", [u for u in books if u.extra["split"] == "dev"])
    for name in OTHERS:
        manifest.write(out / f"{name}.jsonl", [replace(u, extra={}) for u in read(name, root)])
    write_lexicon(out, [*train, *dev, *strangers])
    return f"real speech: {', '.join(str(corpora.find(name, root)) for name in ('libri_en', 'prompts_en', *OTHERS))}"


def write_lexicon(folder: Path, utterances: list[Utterance]) -> None:
    """The words of the utterances and of the language model, as the CMU dictionary and our g2p have them."""
    words = {word for u in utterances for word in u.transcript.split()}
    words.update((LANGUAGE / "data/vocabulary.txt").read_text(encoding="utf-8").split())
    Lexicon.cmudict(sorted(words), guesser(G2pConfig())).write(folder / "lexicon.txt")


def build(recipe: Recipe) -> None:
    """The usual verbs but for the language model, then TIMIT's sentences, and a bundle for word lists."""
    for verb in VERBS:
        if verb != "lm train":
            recipe(verb)
    test, hyp = f"{recipe.cfg.data.dir}/timit_en.jsonl", f"{recipe.cfg.out}/decode/timit_en/hyp.jsonl"
    recipe("decode", test)
    recipe("score", f"ref={test}", f"hyp={hyp}", f"dir={recipe.cfg.out}/score/timit_en")
    recipe("bundle", "graph.kind=none", f"decoder.pad_s={PAD_S}", f"bundle={recipe.cfg.out}/words.asr")


def read(name: str, root: str | None) -> list[Utterance]:
    """A corpus with its texts as they are spoken. Raises InputError if it is not found."""
    folder = corpora.find(name, root)
    if folder is None:
        raise InputError(f"no corpus {name}: set data.root to a folder that holds {name}/manifest.jsonl")
    utterances = manifest.read(folder / "manifest.jsonl")
    return [u if u.text is None else replace(u, text=clean(spoken(u.text, "en"), "en")) for u in utterances]


def transcribe(utterances: list[Utterance], whisper: Path, path: Path) -> list[Utterance]:
    """The utterances with Whisper's texts, as they are spoken, and their confidence.

    `path` keeps them; a run that was interrupted goes on where it stopped.
    """
    ids = {u.id for u in utterances}
    rows = [u for u in manifest.read(path) if u.id in ids] if path.exists() else []
    done = {u.id for u in rows}
    left = [u for u in utterances if u.id not in done]
    if not left:
        return rows
    teacher = Whisper(whisper)
    for u in tqdm(left, desc="transcribe", unit="utt"):
        text, confidence = teacher.transcribe(audio.load(u.audio, u.start_s, u.duration_s, RATE_HZ))
        rows.append(replace(u, text=clean(spoken(text, "en"), "en"), extra={"confidence": round(confidence, 3)}))
        if len(rows) % 20 == 0 or len(rows) == len(utterances):
            manifest.write(path, rows)
    return rows
