"""A worker that takes questions from Redis and runs them, and a client that asks one.

``taskiq worker worker:broker`` starts the worker, ``python worker.py --assistant asst_… "What is a run?"`` asks.
``OPENAI_BASE_URL`` and ``OPENAI_API_KEY`` name the endpoint, ``REDIS_URL`` names Redis.
"""

import argparse
import asyncio
import json
import os
import uuid
from contextlib import AsyncExitStack, aclosing

from redis.asyncio import Redis
from taskiq import Context, TaskiqDepends, TaskiqEvents, TaskiqState
from taskiq.serializers import JSONSerializer
from taskiq_redis import RedisAsyncResultBackend, RedisStreamBroker

from openai_runs import OpenAIRunsError, Session

REDIS_URL = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379")
DEADLINE = 300  # seconds for a run
TAKEOVER = float(os.environ.get("TAKEOVER", "600"))  # seconds; longer than a job takes
END = "end"

# A job is acknowledged when its result is saved. That of a worker that was killed goes to another one.
broker = RedisStreamBroker(
    REDIS_URL, idle_timeout=int(1000 * TAKEOVER), unacknowledged_lock_timeout=60
).with_result_backend(
    # The default serializer is pickle, with which whoever writes to Redis has code executed here.
    RedisAsyncResultBackend(REDIS_URL, result_ex_time=3600, serializer=JSONSerializer())
)


def channel(task_id: str) -> str:
    """Where the status of a job is published."""
    return f"runs:{task_id}"


@broker.on_event(TaskiqEvents.WORKER_STARTUP)
async def open_session(state: TaskiqState) -> None:
    """One session for all jobs of this process: they share its connections and its pace.

    It is patient: twelve retries of a request last more than a minute, so an endpoint that restarts fails no job.
    """
    state.exit_stack = AsyncExitStack()
    state.session = await state.exit_stack.enter_async_context(Session(max_retries=12))
    state.redis = await state.exit_stack.enter_async_context(Redis.from_url(REDIS_URL))


@broker.on_event(TaskiqEvents.WORKER_SHUTDOWN)
async def close_session(state: TaskiqState) -> None:
    await state.exit_stack.aclose()


@broker.task("answer")
async def answer(question: str, assistant_id: str, context: Context = TaskiqDepends()) -> dict[str, str]:  # noqa: B008  # taskiq's way
    """Run a question, publish each status of the run, return the answer or why there is none."""
    session: Session = context.state.session
    redis: Redis = context.state.redis
    task_id = context.message.task_id
    try:
        run = await session.threads.create_and_run(
            assistant_id=assistant_id,
            thread={"messages": [{"role": "user", "content": question}]},
            idempotency_key=task_id,  # a job that is delivered twice starts no second run
        )
        async with aclosing(session.runs.follow(run, deadline=DEADLINE, on_exit="cancel")) as events:
            async for event in events:
                run = event.run
                await redis.publish(channel(task_id), json.dumps({"run_id": run.id, "status": run.status}))
        run = await session.runs.complete(run)  # which has ended: this only raises if it did not complete
        newest = await session.messages.list(run.thread_id, run_id=run.id, limit=1).page()
        return {"answer": newest.data[0].text}
    except OpenAIRunsError as error:
        return {"error": str(error)}
    finally:
        await redis.publish(channel(task_id), END)


async def ask(question: str, assistant_id: str) -> None:
    """Give a worker a question, print each status of the run, and the answer."""
    task_id = uuid.uuid4().hex
    await broker.startup()
    async with Redis.from_url(REDIS_URL, decode_responses=True) as redis, redis.pubsub() as published:
        await published.subscribe(channel(task_id))  # before the job is there, so that nothing is missed
        task = await answer.kicker().with_task_id(task_id).kiq(question, assistant_id)
        async for message in published.listen():
            if message["type"] == "message":
                if message["data"] == END:
                    break
                print(json.loads(message["data"])["status"])
        result = await task.wait_result(timeout=60)
    await broker.shutdown()
    print(result.return_value.get("answer") or f"failed: {result.return_value['error']}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Ask a question, which a worker answers.")
    parser.add_argument("question")
    parser.add_argument("--assistant", required=True, help="the assistant's ID")
    options = parser.parse_args()
    asyncio.run(ask(options.question, options.assistant))
