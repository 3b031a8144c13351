"""Many runs at once, with a limit on how many are in progress."""

from openai_runs.batch.running import Batch, BatchResult, RunJob, run_batch

__all__ = ["Batch", "BatchResult", "RunJob", "run_batch"]
