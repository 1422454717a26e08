"""Fair shares: no key holds so much of what all share that nothing is left for the others."""

from dataclasses import dataclass, field

from asr.serve.errors import Refused


@dataclass
class Share:
    """What each caller may hold at a time. Where no keys are required all callers are one, who may have it all.

    `message` and `code` are those of the refusal.
    """

    most: int
    message: str
    code: str
    taken: dict[str, int] = field(default_factory=dict)  # by the caller's id, of those who hold something

    def take(self, caller: str, amount: int = 1, own: int = 0, retry_after_s: float = 5.0) -> None:
        """Raises Refused(429) beyond the share. `own`: what this request holds, which alone is never too much."""
        total = self.taken.get(caller, 0) + amount
        if caller and total > max(self.most, own + amount):
            raise Refused(429, self.message.format(most=self.most), retry_after_s, code=self.code)
        self.taken[caller] = total

    def give_back(self, caller: str, amount: int = 1) -> None:
        if left := self.taken.pop(caller, 0) - amount:
            self.taken[caller] = left
