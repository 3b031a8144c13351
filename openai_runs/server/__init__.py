"""The engine over HTTP; imports nothing of the client."""

from openai_runs._extras import needs

with needs("server"):
    from openai_runs.engine.limits import Limits
    from openai_runs.server.app import create_app
    from openai_runs.server.endpoint_files import EndpointFiles
    from openai_runs.server.local import LocalServer
    from openai_runs.server.pass_through import PassThrough
    from openai_runs.server.poll_hint import PollHint

__all__ = ["EndpointFiles", "Limits", "LocalServer", "PassThrough", "PollHint", "create_app"]
