"""Options of work on many recordings: the group `bulk` of asr/config.py."""

from dataclasses import dataclass

from asr.declaration import Options, option


@dataclass
class BulkConfig(Options):
    launcher: str = option(
        "local", "where the work on recordings is done: in this process, or by workers of a Ray", ["local", "ray"]
    )
    workers: int = option(
        0, "workers of a Ray; 0: as many as its cores, or its GPUs with device=cuda, allow", within="[0, 1e5]"
    )
    address: str | None = option(
        None, "address of a Ray that is running; null: $RAY_ADDRESS, or else one is started here"
    )
