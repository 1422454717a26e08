"""What the service does with each utterance of a live stream, besides sending it."""

import time
import uuid

from asr.recognizer.options import DecodingOptions
from asr.serve.access import Caller
from asr.serve.listener import Ended
from asr.serve.metrics import Stages
from asr.serve.service import Answered, Service


class Account:
    """The utterances of one session: charged, measured, and kept if the service is asked to. Runs in worker threads."""

    def __init__(self, service: Service, caller: Caller, mode: str):
        """Charges the first utterance. Raises Refused(429) beyond the caller's quota."""
        self.service, self.caller, self.mode = service, caller, mode
        self.ignored: tuple[str, ...] = ()  # words and phrases of the session that the recogniser lacks
        self.model = ""  # the version of the session's recogniser
        self.options = DecodingOptions()  # of the session
        self.count = 0
        self._charge()

    def add(self, ended: Ended, rate_hz: int) -> str:
        """The id of the answer. Raises Refused(429) beyond the caller's quota."""
        if self.count:
            self._charge()
        self.count += 1
        stages = Stages()
        stages.seconds["stream"] = ended.work_s
        answered = Answered(
            f"asr-{uuid.uuid4().hex}", self.caller, self.mode, ended.hypothesis, ended.samples, rate_hz,
            ended.level_db, ended.work_s, self.ignored, self.model, self.options, ended.spoken,
            is_live=True,
        )  # fmt: skip
        self.service.record(answered, stages)
        return answered.id

    def _charge(self) -> None:
        if self.service.keys is not None:
            self.service.keys.charge(self.caller, 1, time.time())
