"""Many runs at once."""

from openai_runs.batch.running import Batch, BatchResult, RunJob, run_batch

__all__ = ["Batch", "BatchResult", "RunJob", "run_batch"]
