"""Options of `asr flywheel`: the group `flywheel` of asr/config.py."""

from dataclasses import dataclass

from asr.declaration import Options, option


@dataclass
class FlywheelConfig(Options):
    since: str | None = option(None, "first day of the requests that are used (UTC), as 2026-03-01; null: the oldest")
    until: str | None = option(None, "last day of them; null: the newest")
    key: str | None = option(None, "name of the key whose requests are meant; null: all")
    mode: str | None = option(
        None, "mode of the requests that are used, as word or dictation; null: all, to retrain all but word"
    )
    part: str = option(
        "all", "requests that are used: of the random slice, of the rest, or all", ["all", "slice", "rest"]
    )
    transcribed: str = option("all", "export requests with a transcript, without one, or all", ["all", "yes", "no"])
    minutes: float = option(60.0, "minutes of sound that `asr flywheel select` chooses", within="(0, 1e6]")
    random_share: float = option(0.2, "share of those minutes that is drawn at random", within="[0, 1]")
    known: str | None = option(
        None, "texts or manifest of the training; words outside it are new and count twice; null: no word is new"
    )
    day_requests: int = option(20, "days with fewer requests are left out of the drift test", within="[2, 1e9]")
    false_alarms: float = option(
        0.2, "alarms per 30 days that the drift test may raise while nothing changes", within="[1e-4, 30]"
    )
    wrong_cost: float = option(5.0, "cost of a wrong word that is accepted", within="[0, 1e9]")
    reject_cost: float = option(1.0, "cost of a word that is rejected, right or wrong", within="[0, 1e9]")
    transcribers: list[str] = option(["me"], "names of those who transcribe; each gets a page of their own")
    double: float = option(
        0.1, "share of the recordings that two transcribers hear, for `asr flywheel agreement`", within="[0, 1]"
    )
    clean: bool = option(
        True, "keep transcripts as `asr text clean` writes texts; false: with capitals and punctuation"
    )
    settle: bool = option(False, "show the recordings in which transcribers disagree, with the versions of both")
    parts: list[str] = option(
        ["acoustic", "lm", "lexicon"], "what `asr flywheel retrain` trains further: acoustic, lm, lexicon (new words)"
    )
    versions: str | None = option(None, "folder of the versions of the recogniser")
    test_days: int = option(
        14, "the random slice of the newest so many days is the test; training takes older requests", within="[1, 1e5]"
    )
    half_life_days: float = option(
        30.0, "age in days at which a request counts half, in training and in the test", within="(0, inf]"
    )
    least_requests: int = option(50, "transcribed requests of the random slice that a test needs", within="[1, 1e9]")
    regressions: list[str] = option([], "manifests on which a candidate may lose at most `margin`")
    margin: float = option(0.005, "largest rise of the error rate on a regression set", within="[0, 1]")
    sounds: str | None = option(
        None,
        "folder, or URL of an object store, for the sounds that `asr flywheel export` and `select` write; null: the "
        "name of the manifest",
    )
