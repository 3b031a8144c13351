"""`ChatCompletionsBackend`: any server that speaks Chat Completions."""

from collections.abc import AsyncGenerator, Sequence
from typing import ClassVar, Unpack

from openai_runs._http.transport import ApiKey
from openai_runs.backends.capabilities import Kind
from openai_runs.backends.chat_body import MaxTokensField, chat_body
from openai_runs.backends.chat_stream import ChatStream
from openai_runs.backends.conversation import Item
from openai_runs.backends.live import LiveBackend, LiveOptions
from openai_runs.backends.model_backend import BackendEvent, ModelRequest


class ChatCompletionsBackend(LiveBackend):
    """A model behind ``POST /chat/completions``: OpenAI, Azure, vLLM, Ollama, llama.cpp, gateways.

    ``ChatCompletionsBackend("http://127.0.0.1:11434/v1", models={"*": "llama3.2"}, max_tokens_field="max_tokens")``
    """

    kind: ClassVar[Kind] = "chat"

    def __init__(
        self,
        base_url: str,
        api_key: ApiKey | None = None,
        *,
        max_tokens_field: MaxTokensField = "max_completion_tokens",
        **options: Unpack[LiveOptions],
    ) -> None:
        """Say where the model is; nothing is opened yet.

        Args:
            base_url: What comes before ``/chat/completions``.
            api_key: The bearer token, or an async callable that returns a fresh one. ``None``: none is sent.
            max_tokens_field: What the endpoint calls the limit of an answer. Older servers, Ollama among them, know
                ``max_tokens`` only, and pass over the newer name without a word.
            **options: See `LiveOptions`.

        Raises:
            ValueError: ``base_url`` is no URL, or a header cannot be sent.
        """
        super().__init__(base_url, api_key, **options)
        self._max_tokens_field: MaxTokensField = max_tokens_field

    def _answer(self, request: ModelRequest, items: Sequence[Item]) -> AsyncGenerator[BackendEvent]:
        body = chat_body(request, items, self._model(request.model), max_tokens_field=self._max_tokens_field)
        reader = ChatStream(request.max_completion_tokens)
        return self._endpoint.listen(reader, "/chat/completions", body=self._with_extra(body))
