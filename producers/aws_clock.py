"""What a service of AWS answers when the clock that signed a request is wrong: it signs the time too, and gives 5 to 15
minutes of grace (Signature Version 4, "Elements of an API request signature").

Such an answer speaks of this machine, not of credentials: whoever gets it waits until the clock is right.
"""

from __future__ import annotations

from typing import Final

CODES: Final = frozenset({"RequestExpired", "RequestInTheFuture", "RequestTimeTooSkewed"})
# These codes stand for a wrong secret as well: then they say that the signature does not match.
WORDS: Final = ("signature expired", "signature not yet current")


def is_clock_wrong(code: str, message: str) -> bool:
    """Whether the error `code` of a service, with its message, says so."""
    return code in CODES or any(words in message.lower() for words in WORDS)


def wrong_clock(text: str) -> str:
    """The detail of Unavailable("clock")."""
    return f"set this machine's clock (NTP): {text}"
