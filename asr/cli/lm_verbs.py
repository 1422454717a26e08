"""The verbs `asr lm ...`: see asr/cli/verbs.py."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from asr import pipeline
from asr.cli.inputs import needed_output
from asr.cli.launchers import counters
from asr.config import Config
from asr.errors import InputError

if TYPE_CHECKING:
    from asr.lm import NgramModel
    from asr.text.cleaning_report import CleaningReport


def lm_train(cfg: Config) -> None:
    """Estimates an n-gram language model from text (interpolated modified Kneser-Ney), or trains a neural one.

    asr lm train text=a.txt,b.txt.gz order=4 arpa=lm.arpa
    asr lm train text=a.txt,b.txt.gz kind=neural net=lm.safetensors [vocabulary_size=20000] [updates=20000] [dev=TEXT]

    Without text it uses the text of the training manifest. Counts of `asr lm count` may stand among the texts.
    With `threads=N`, N processes count large texts in parts; with `launcher=ray`, `workers` workers of Ray do, here or
    on the cluster at `address`. The model is the same, byte for byte. A neural model, an LSTM, ranks the best readings
    of a search anew (decoder.rescore). The same command goes on with a training of one that was stopped.
    """
    from asr.cli.lm_formats import OTHERS

    if cfg.lm.kind == "ngram" and cfg.lm.arpa.endswith(OTHERS):
        raise InputError(f"arpa={cfg.lm.arpa}: training writes ARPA files; name one, and convert it with "
                         f"`asr lm convert LM.arpa {Path(cfg.lm.arpa).name}`")  # fmt: skip
    cfg = replace(cfg, lm=replace(cfg.lm, text=cfg.lm.text or cfg.input))
    if cfg.lm.kind == "neural":
        if cfg.bulk.launcher != "local":
            raise InputError("launcher=ray counts n-grams; a neural model is trained here: leave launcher out")
        print(pipeline.train_lm(cfg))
        return
    with counters(cfg) as workers:
        print(pipeline.train_lm(cfg, workers))


def lm_count(cfg: Config) -> None:
    """Counts the n-grams of texts once, for `asr lm train`, which takes the counts in the place of the texts.

    asr lm count a.txt b.txt.gz output=ab.counts [order=4] [unit=char] [threads=4]
    asr lm count ab.counts new.txt output=all.counts
    asr lm train text=ab.counts,new.txt order=3 arpa=lm.arpa

    Counts may stand among the texts: they are added up. They hold all words, and serve any lower order, vocabulary and
    pruning. Processes and workers of Ray share the work as in `asr lm train`.
    """
    from asr.lm.counting import count_files

    path = needed_output(cfg, "the counts")
    with counters(cfg) as workers:
        print(count_files(replace(cfg.lm, text=cfg.lm.text or cfg.input), path, workers))


def lm_ppl(cfg: Config) -> None:
    """Computes the perplexity of texts under language models.

    asr lm ppl [heldout.txt ...] arpa=lm.arpa
    asr lm ppl a.arpa b.arpa heldout.txt [output=sentences.tsv] [unknown=words.tsv]

    Without texts it uses the text of the manifest of `split`. `output` gets the log probability of each sentence,
    `unknown` the words outside a model's vocabulary with their counts. Files with a line \\data\\ are models, whatever
    their names; all others are texts.
    """
    from asr.cli.lm_formats import is_model
    from asr.lm.compare import compare
    from asr.lm.texts import sentences

    models = [path for path in cfg.input if is_model(path)] or [cfg.lm.arpa]
    texts = [path for path in cfg.input if not is_model(path)] or [getattr(cfg.data, cfg.split)]
    comparison = compare(models, list(sentences(texts)))
    print(comparison)
    if cfg.output:
        comparison.write_sentences(cfg.output)
        print(f"-> {cfg.output}")
    if cfg.lm.unknown:
        comparison.write_unknown(cfg.lm.unknown)
        print(f"-> {cfg.lm.unknown}")


def lm_prune(cfg: Config) -> None:
    """Removes the n-grams that matter least from a language model (entropy pruning).

    asr lm prune arpa=big.arpa size=1000000 output=small.arpa
    asr lm prune arpa=big.arpa threshold=1e-8 output=small.arpa

    `size` is the number of n-grams, of all orders, that stay. With `threshold`, an n-gram is removed if its removal
    raises the perplexity of the model by a smaller relative amount.
    """
    from asr.cli.lm_formats import writer
    from asr.lm import arpa
    from asr.lm.prune import prune

    path = needed_output(cfg, "the smaller model")
    write = writer(path)
    model = arpa.read(cfg.lm.arpa)
    pruned = prune(model, cfg.lm.size, cfg.lm.threshold, cfg.lm.marginals)
    write(pruned, path)
    print(f"{cfg.lm.arpa}: {_size(model)}\n-> {path}: {_size(pruned)}")


def lm_mix(cfg: Config) -> None:
    """Mixes language models into one, with weights given or found on a dev text.

    asr lm mix a.arpa b.arpa [c.arpa ...] dev=dev.txt output=mixed.arpa
    asr lm mix a.arpa b.arpa weights=0.7,0.3 output=mixed.arpa
    """
    from asr.cli.lm_formats import writer
    from asr.lm import arpa
    from asr.lm.compare import table
    from asr.lm.mix import check_weights, fit, mix
    from asr.lm.score import perplexity
    from asr.lm.texts import sentences

    path = needed_output(cfg, "the mixture")
    write = writer(path)
    if len(cfg.input) < 2:
        raise InputError("asr lm mix needs two or more models: asr lm mix a.arpa b.arpa dev=dev.txt output=mixed.arpa")
    weights = check_weights(cfg.lm.weights, len(cfg.input)) if cfg.lm.weights else None
    with_dev = weights is None or Path(cfg.data.dev).exists()
    dev = _some(sentences([cfg.data.dev]), cfg.data.dev) if with_dev else []
    models = [arpa.read(name) for name in cfg.input]
    found = fit(models, dev, weights) if dev else None
    mixed = mix(models, found.weights if found else weights or [])
    write(mixed, path)
    if found:
        for name, weight in zip(cfg.input, found.weights, strict=True):
            print(f"weight {weight:.4f}  {name}")
        print(f"{found.steps} steps of expectation maximisation" if found.steps else "weights as given")
        scores = {name: perplexity(model, dev) for name, model in zip(cfg.input, models, strict=True)}
        print(table({**scores, "exact mixture": found.score, path: perplexity(mixed, dev)}))
    print(f"-> {path}: {_size(mixed)}")


def lm_adapt(cfg: Config) -> None:
    """Adapts a general language model to a domain, given text of the domain.

    asr lm adapt base=general.arpa text=domain.txt dev=domain.dev [lang=en] [size=1000000] output=domain.arpa

    With `lang`, both texts are cleaned as `asr text clean` does, with the options `text.*`. A model of the text, of the
    base's order, is mixed with the base by weights found on the dev text. New words that occur at least `min_count`
    times enter the vocabulary. Without `size` nothing is pruned.
    """
    from asr.cli.lm_formats import writer
    from asr.lm import arpa
    from asr.lm.adapt import adapt
    from asr.lm.compare import table
    from asr.text.cleaning_report import CleaningReport

    path = needed_output(cfg, "the adapted model")
    write = writer(path)
    if not cfg.lm.base or not cfg.lm.text:
        raise InputError("asr lm adapt needs base=GENERAL.arpa and text=DOMAIN.txt (and dev=HELDOUT.txt)")
    dev = _some(_cleaned(cfg, [cfg.data.dev], CleaningReport([cfg.data.dev], path)), cfg.data.dev)
    base = arpa.read(cfg.lm.base)
    report = CleaningReport(cfg.lm.text, path)
    found = adapt(base, _cleaned(cfg, cfg.lm.text, report), dev, cfg.lm.size, cfg.lm.min_count)
    write(found.model, path)
    if cfg.lm.lang != "none":
        print(
            f"cleaned ({cfg.lm.lang}): {report.kept_texts:,} of {report.texts:,} sentences kept, "
            f"{report.kept_words:,} words"
        )
    print(f"{cfg.lm.base}: {_size(base)}")
    print(f"weights: base {found.weights[0]:.4f}, domain {found.weights[1]:.4f}, in {found.steps} steps")
    print(f"{found.new_words:,} new words\n{table(found.scores)}\n-> {path}: {_size(found.model)}")


def lm_filter(cfg: Config) -> None:
    """Restricts a language model to the words of a list.

    asr lm filter arpa=lm.arpa vocabulary=words.txt output=small.arpa

    N-grams with other words are removed. The others keep their probabilities, and so do sentences of listed words.
    """
    from asr.cli.lm_formats import writer
    from asr.lm import arpa
    from asr.lm.filter import restrict
    from asr.lm.training import read_vocabulary

    path = needed_output(cfg, "the restricted model")
    write = writer(path)
    if not cfg.lm.vocabulary:
        raise InputError("vocabulary=FILE is missing: the words to keep, one per line")
    words = set(read_vocabulary(cfg.lm.vocabulary))
    model = arpa.read(cfg.lm.arpa)
    restricted = restrict(model, words)
    write(restricted, path)
    print(f"{len(words.difference(model.ids)):,} of {len(words):,} words are not in {cfg.lm.arpa}: {_size(model)}")
    print(f"-> {path}: {_size(restricted)}")


def lm_convert(cfg: Config) -> None:
    """Converts an ARPA file to another format, which the ending of the second name selects, or a Whisper.

    asr lm convert lm.arpa lm.arpa.xz
    asr lm convert lm.arpa.gz G.fst
    asr lm convert lm.arpa lm.ngram
    asr lm convert big.arpa big.trie
    asr lm convert data/whisper-base heard.safetensors lang=ko text=lm.txt,data/train.jsonl

    .ngram is for dynamic graphs, .trie for decoder.rescore and `asr lm ppl`; both are mapped, not read. The folder of
    a Whisper (CTranslate2) becomes a model for decoder.rescore, which hears the recordings. Of its tokens, those of the
    texts stay.
    """
    from asr.cli.lm_formats import writer
    from asr.lm import arpa

    if len(cfg.input) != 2:
        raise InputError(f"asr lm convert IN OUT: expected two files, {len(cfg.input)} were given")
    if Path(cfg.input[0]).is_dir():
        from asr.lm.attention.file import convert

        print(f"-> {cfg.input[1]}: {convert(cfg.input[0], cfg.input[1], cfg.lm.lang, cfg.lm.text)}")
        return
    if not Path(cfg.input[0]).exists() and cfg.lm.lang != "none":
        raise InputError(f"there is no folder {cfg.input[0]}; check the path of the Whisper")
    for option in ("lang", "text"):
        if (given := getattr(cfg.lm, option)) not in ("none", []):
            raise InputError(f"lm.{option}={given} is for converting the folder of a Whisper; leave it out")
    write = writer(cfg.input[1])
    model = arpa.read(cfg.input[0])
    write(model, cfg.input[1])
    print(f"-> {cfg.input[1]}: {_size(model)}")


def lm_vocabulary(cfg: Config) -> None:
    """Writes a list of the words of texts, the most frequent first.

    asr lm vocabulary text=a.txt,b.txt output=words.txt [size=20000] [min_count=2]
    """
    from collections import Counter

    from asr.files import atomic_write
    from asr.lm.texts import sentences

    path = needed_output(cfg, "the list of words")
    counts = Counter(word for text in sentences(cfg.lm.text or [cfg.data.train]) for word in text.split())
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[: cfg.lm.size]
    kept = [(word, count) for word, count in ranked if count >= cfg.lm.min_count]
    with atomic_write(path) as file:
        file.writelines(f"{word}\n" for word, _ in kept)
    share = sum(count for _, count in kept) / max(counts.total(), 1)
    print(f"{len(kept):,} of {len(counts):,} words, {share:.2%} of the text -> {path}")


def _cleaned(cfg: Config, paths: Sequence[str], report: "CleaningReport") -> Iterator[str]:
    """The sentences of the files, cleaned and counted in `report`; unchanged if `lm.lang` is none."""
    from asr.lm.texts import sentences
    from asr.text.cleaning import Cleaner

    if cfg.lm.lang == "none":
        return sentences(paths)
    clean = Cleaner(replace(cfg.text, lang=cfg.lm.lang), report)
    cleaned = (clean(text, f"sentence {number}") for number, text in enumerate(sentences(paths), 1))
    return (text for text in cleaned if text is not None)


def _some(texts: Iterable[str], path: str) -> list[str]:
    """The texts as a list. Raises InputError if there are none."""
    if not (found := list(texts)):
        raise InputError(f"{path} has no sentences; dev=FILE needs text that is not in the training texts")
    return found


def _size(model: "NgramModel") -> str:
    counts = [len(ngrams.ids) for ngrams in model.orders]
    return f"{sum(counts):,} n-grams ({' + '.join(f'{count:,}' for count in counts)})"
