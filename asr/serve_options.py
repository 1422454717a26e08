"""Options of the service (`asr serve`): the group `serve` of asr/config.py."""

from dataclasses import dataclass

from asr.declaration import Options, option


@dataclass
class ServeConfig(Options):
    host: str = option("127.0.0.1", "address to listen on; 0.0.0.0 listens on all")
    port: int = option(8080, "port to listen on; 0 takes a free one", within="[0, 65535]")
    modes: list[str] = option(
        ["dictation", "word"],
        "modes by name: word, dictation, web, local; NAME=FILE gives one its own bundle, run folder, graph folder or "
        "n-gram model (*.ngram)",
    )
    language: str | None = option(
        None, "language that the model recognises, as en or ko; requests for another are refused; null accepts any"
    )
    queue: int = option(32, "requests that wait for a worker; more are answered 503", within="[0, 1e5]")
    requests_per_key: int | None = option(
        None,
        "requests of one key at a time, whether they are received, wait or run; more are answered 429. null: half of "
        "threads + queue",
        within="[1, 1e5]",
    )
    max_sessions: int = option(64, "live streams at a time", within="[0, 1e5]")
    sessions_per_key: int | None = option(
        None, "live streams of one key at a time; more are answered 429. null: half of max_sessions", within="[1, 1e5]"
    )
    max_stream_s: float = option(14400.0, "longest live stream in seconds", within="(0, 1e6]")
    max_upload_bytes: int = option(100_000_000, "largest body of a request", within="[1, 1e11]")
    max_held_bytes: int = option(
        1_000_000_000,
        "bytes of the bodies of all requests at a time; more are answered 503; more than half by one key 429",
        within="[1, 1e12]",
    )
    max_audio_s: float = option(3600.0, "longest recording of a request in seconds", within="(0, 1e6]")
    max_words: int = option(
        10_000, "most entries of a request's word list, of its new words, and of its slots", within="[0, 1e6]"
    )
    max_phrases: int = option(1_000, "most phrases of a request", within="[0, 1e6]")
    header_timeout_s: float = option(10.0, "longest time for a request's headers; 408 later", within="(0, 3600]")
    body_timeout_s: float = option(60.0, "longest time for a request's body; 408 later", within="(0, 86400]")
    send_timeout_s: float = option(
        20.0, "longest time that a client leaves what it is sent unread; its connection is cut off then",
        within="(0, 3600]",
    )  # fmt: skip
    drain_timeout_s: float = option(
        600.0, "longest time to finish accepted requests after SIGTERM or Ctrl-C", within="[0, 86400]"
    )
    cors_origins: list[str] = option([], "origins whose pages may call the service from a browser; [] allows none")
    keys: str = option("${out}/serve.db", "database of keys, usage and feedback: an SQLite file or a postgresql:// URL")
    require_keys: bool = option(False, "answer only requests with a key of `asr serve keys add`")
    daily_quota: int = option(20_000, "calls of a key per day (UTC)", within="[1, 1e9]")
    rate_per_minute: int = option(600, "calls of a key per minute", within="[1, 1e5]")
    keep_text: bool = option(False, "keep the texts of answers in the database, so that callers can correct them")
    keep_audio: bool = option(False, "keep the sound of answers likewise, for `asr serve feedback export`")
    keep_days: float = option(30.0, "days after which answers without a correction are deleted", within="(0, 1e5]")
    log_text: bool = option(False, "print what was recognised, among the messages of the service")
    candidate: str | None = option(
        None, "bundle of a candidate beside the model; it answers `candidate_share` of the requests, or hears them all"
    )
    candidate_share: float = option(
        0.0, "share of the keys whose requests the candidate answers; 0: it answers none, and what it hears is logged",
        within="[0, 1]",
    )  # fmt: skip
    log: str | None = option(
        None, "folder of the log of requests, which keeps their texts and sounds for `asr flywheel`; null logs nothing"
    )
    log_database: str | None = option(
        None, "database of that log: an SQLite file or a postgresql:// URL; null: requests.db in its folder"
    )
    log_sound: bool = option(True, "log the sounds of requests, too")
    log_days: float = option(90.0, "days after which logged requests are deleted", within="(0, 1e5]")
    log_gb: float = option(
        10.0, "largest size of the logged sounds; beyond it the oldest are deleted", within="(0, 1e6]"
    )
    log_slice: float = option(
        0.01, "share of requests that is drawn at random and kept apart for measurement", within="[0, 1]"
    )
    rescore_on_request: bool = option(
        False, "leave the recogniser's second pass out of all requests but those that ask for it with rescore=true"
    )
