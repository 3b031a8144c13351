"""All targets, by name."""

from typing import Final

from tests.fuzz.target import Target
from tests.fuzz.targets import backends, cli, file_search, following, http, server, tools, wire

TARGETS: Final[dict[str, Target]] = {
    target.name: target
    for module in (http, wire, following, server, tools, backends, cli, file_search)
    for target in module.TARGETS
}
