"""Zeroth-Korean: 51 hours of read sentences, openslr.org/40; meant for a GPU.

The corpus (CC BY 4.0) is expected as its archive unpacks, in a folder `zeroth_korean`:

    AUDIO_INFO                                                   speaker|name|sex|...
    train_data_01/<script>/<speaker>/<speaker>_<script>.trans.txt   one "<id> <text>" per line
    train_data_01/<script>/<speaker>/<id>.flac
    test_data_01/...

Its language models, lexicon and morphemes (`zeroth.lm.*`, `zeroth_lexicon`, `zeroth_morfessor.seg`) are not used.
"""

from pathlib import Path

from tqdm import tqdm

from asr.config import Config
from asr.data import corpora
from asr.errors import InputError
from asr.features import audio
from asr.manifest import Utterance
from asr.textfiles import lines
from recipes.korean.texts import as_spoken, hold_out, write_lm_text, write_set


def prepare(cfg: Config) -> str:
    """Write `{train,dev,test}.jsonl` and `lm.txt` in `cfg.data.dir`.

    The corpus has no dev set: one in twenty of its training speakers is held out. Speakers of all sets are disjoint;
    many sentences recur across speakers.
    """
    corpus = corpora.find("zeroth_korean", cfg.data.root)
    if corpus is None:
        raise InputError(
            "no folder 'zeroth_korean'; unpack zeroth_korean.tar.gz of openslr.org/40 in it, and name the folder above "
            "it with data.root=..."
        )
    sexes, out = read_sexes(corpus / "AUDIO_INFO"), Path(cfg.data.dir)
    train, dev = hold_out(read_part(corpus / "train_data_01", sexes))
    for split, utterances in {"train": train, "dev": dev, "test": read_part(corpus / "test_data_01", sexes)}.items():
        write_set(out, split, utterances)
    write_lm_text(out, cfg.data.root)
    return f"real speech: Zeroth-Korean in {corpus}"


def read_sexes(path: Path) -> dict[str, str]:
    """Speaker -> m or f. Raises InputError for a line of another form."""
    sexes = {}
    for number, line in lines(path, "speakers", "speaker|name|sex|... lines"):
        fields = [field.strip() for field in line.split("|")]
        if len(fields) < 3:
            raise InputError(f"{path}:{number}: {line.strip()!r}; expected speaker|name|sex|...")
        if fields[2].lower() in ("m", "f"):  # others: the header
            sexes[fields[0]] = fields[2].lower()
    return sexes


def read_part(folder: Path, sexes: dict[str, str]) -> list[Utterance]:
    """Every utterance below the folder. A line without its recording is named and set aside."""
    transcripts = sorted(folder.glob("*/*/*.trans.txt"))
    if not transcripts:
        raise InputError(f"{folder} holds no <script>/<speaker>/*.trans.txt; expected the layout of openslr.org/40")
    utterances = []
    for transcript in tqdm(transcripts, desc=folder.name, unit="speaker"):
        speaker = transcript.parent.name
        if speaker not in sexes:
            raise InputError(f"{transcript}: AUDIO_INFO has no speaker {speaker}")
        for number, line in lines(transcript, "transcripts", "id text lines"):
            name, _, text = line.strip().partition(" ")
            if not text.strip():
                raise InputError(f"{transcript}:{number}: {line.strip()!r}; expected '<id> <text>'")
            path = transcript.parent / f"{name}.flac"
            try:
                duration_s = audio.info(path).duration_s
            except InputError as e:
                tqdm.write(f"set aside {transcript}:{number}: {e}")
                continue
            extra = {"sex": sexes[speaker]}
            utterances.append(Utterance(name, str(path), None, 0.0, duration_s, as_spoken(text), speaker, "ko", extra))
    if not utterances:
        raise InputError(f"none of the recordings of {folder} can be read; see above")
    return utterances
