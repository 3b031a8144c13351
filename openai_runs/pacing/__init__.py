"""How fast a session sends: what its endpoint allows, and whose turn it is. Only `turns` waits."""

from openai_runs.pacing.rate_limits import RateLimits

__all__ = ["RateLimits"]
