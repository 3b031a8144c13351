"""Batches that outlive the process: the extra ``durable``."""

from openai_runs._extras import needs

with needs("durable"):
    from openai_runs.batch.durable.batches import DurableBatch, DurableBatches
    from openai_runs.batch.durable.job_table import Progress
    from openai_runs.batch.durable.options import WorkOptions
    from openai_runs.batch.durable.shared_limits import SharedLimits
    from openai_runs.batch.durable.work import work

__all__ = ["DurableBatch", "DurableBatches", "Progress", "SharedLimits", "WorkOptions", "work"]
