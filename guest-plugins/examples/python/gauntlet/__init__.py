"""What a Gauntlet policy in Python is written with, for contract gauntlet:policy@1.0.0.

A policy is a class: `__init__(self, settings, context)`, with `relabel(self, series)`, `admit(self, write)` or both. It must
depend on its settings, its context and the series alone, since the gateway remembers verdicts: no clock, no randomness,
nothing that is kept between calls, and no set whose order shows.
"""

from dataclasses import dataclass, field
from enum import Enum


class ConfigError(Exception):
    """What is wrong with the settings, for the operator: raise it where they can never work."""


class Level(Enum):
    DEBUG = 0
    INFO = 1
    WARN = 2
    ERROR = 3


@dataclass(frozen=True)
class Context:
    """Where a policy is in force. The first upstream takes what is not routed."""

    tenant: str
    upstreams: list[str]


@dataclass(frozen=True)
class Budget:
    """What series count against: new ones are refused where it has as many active ones already."""

    name: str
    max_active_series: int


class Series(dict):
    """The labels of one series, values by names, and what becomes of it. One that is left alone is kept.

    A label with an empty value is none.
    """

    __slots__ = ("budget", "reason", "stream", "was")

    def __init__(self, labels):
        super().__init__(labels)
        self.was = dict(self)
        self.reason = None
        self.stream = None
        """The stream in which the series travels from here on; a decision may route it."""
        self.budget = None

    def drop(self, reason):
        """Drops the series. The reason is counted and shown: one of a few short words."""
        self.reason = reason

    @property
    def changed(self):
        return self != self.was


@dataclass(frozen=True)
class StreamTotals:
    """What a stream carries; the default stream has no name."""

    name: str
    series: int = 0
    samples: int = 0
    histograms: int = 0
    exemplars: int = 0


@dataclass(frozen=True)
class Write:
    """One write, after every series was judged. Of what `inputs` does not name the numbers are zero."""

    tenant: str
    subject: str = ""
    protocol: str = "1.0"
    compressed_bytes: int = 0
    decoded_bytes: int = 0
    active_series: int = 0
    new_series: int = 0
    streams: list[StreamTotals] = field(default_factory=list)


@dataclass(frozen=True)
class Charge:
    """Tokens to take from a bucket that the gateway keeps."""

    bucket: str
    tokens: int
    per_second: float
    burst: int


@dataclass(frozen=True)
class Admit:
    """Lets a write in, at a price. Routes are upstreams by stream."""

    charges: list[Charge] = field(default_factory=list)
    routes: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Reject:
    """Refuses a write for good (400); the text is shown to the sender."""

    text: str


def check_settings(settings, **known):
    """Refuses a key that is not in `known`, and a value of another type than it has there."""
    if not isinstance(settings, dict):
        raise ConfigError("settings must be a mapping")
    for key, value in settings.items():
        if key not in known:
            raise ConfigError(f"unknown key `{key}`; known are {', '.join(known)}")
        if isinstance(value, bool) != (known[key] is bool) or not isinstance(value, known[key]):
            raise ConfigError(f"{key} must not be a {type(value).__name__}")


def _to_stderr(level, message):
    import sys

    print(f"{level.name}: {message}", file=sys.stderr)


_write = _to_stderr


def log(level, message):
    """Bounded lines in the gateway's log."""
    _write(level, message)
