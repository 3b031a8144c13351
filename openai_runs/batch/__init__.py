"""Many runs at once, with a limit on how many are in progress."""

from openai_runs.batch.jobs import BatchResult, ResultRow, RunJob
from openai_runs.batch.progress import BatchProgress
from openai_runs.batch.repeating import JobRetries
from openai_runs.batch.running import Batch, run_batch

__all__ = ["Batch", "BatchProgress", "BatchResult", "JobRetries", "ResultRow", "RunJob", "run_batch"]
