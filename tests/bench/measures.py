"""What is measured, in the order in which it is shown."""

from typing import Final, Literal, TypeAlias

from attrs import frozen

#: Of the table that a measure stands in.
Part: TypeAlias = Literal["client", "start", "counted", "server"]


@frozen
class Measure:
    """What a figure is of."""

    part: Part
    name: str
    unit: str


_TOKEN: Final = "a token through engine and server, 100 streams of 50 a second"
MEASURES: Final = {
    "get one": Measure("client", "a `GET` of a run, 1 in flight: CPU", "µs"),
    "get many": Measure("client", "a `GET` of a run, 64 in flight: CPU", "µs"),
    "list": Measure("client", "a run in a list of 100: CPU", "µs"),
    "stream burst": Measure("client", "an event of a stream at full speed: CPU", "µs"),
    "stream paced": Measure("client", "an event of a stream, one a millisecond: CPU", "µs"),
    "lifecycle": Measure("client", "a run from start to answer in 8 requests, 200 in flight: CPU", "µs"),
    "follower memory": Measure("client", "10,000 runs followed: memory of each", "KB"),
    "follower delay": Measure("client", "10,000 runs followed: delay of the event loop, p99", "ms"),
    "get instructions": Measure("counted", "a `GET` of a run, client: instructions", ""),
    "server get instructions": Measure("counted", "a `GET` of a run, server: instructions", ""),
    "import instructions": Measure("counted", "`import openai_runs`: instructions", ""),
    "session instructions": Measure("counted", "`from openai_runs import Session`: instructions", ""),
    "start instructions": Measure("counted", "a program from its start to its first `GET`: instructions", ""),
    "import wall": Measure("start", "`import openai_runs`", "ms"),
    "session wall": Measure("start", "`from openai_runs import Session`", "ms"),
    "runs wall": Measure("start", "the same, and `session.runs` used", "ms"),
    "runs a second": Measure("server", "scripted runs on SQLite, the client on the same cores", "a second"),
    "server CPU a run": Measure("server", "a scripted run: CPU of the server", "ms"),
    "client CPU a run": Measure("server", "a scripted run: CPU of the client", "ms"),
    "requests a run": Measure("server", "a scripted run, followed: requests", ""),
    "token CPU": Measure("server", f"{_TOKEN}: CPU of the server", "µs"),
    "token p50": Measure("server", f"{_TOKEN}: delay, p50", "ms"),
    "token p99": Measure("server", f"{_TOKEN}: delay, p99", "ms"),
}
