"""`ChatCompletionsBackend`: any server with the Chat Completions API."""

from collections.abc import AsyncGenerator
from typing import ClassVar, Unpack

from openai_runs._http.transport import ApiKey
from openai_runs.backends.adaptations import Prompt
from openai_runs.backends.capabilities import Kind
from openai_runs.backends.chat_body import MaxTokensField, chat_body
from openai_runs.backends.chat_stream import ChatStream
from openai_runs.backends.live import LiveBackend, LiveOptions
from openai_runs.backends.model_backend import BackendEvent


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
        """Configure the backend; the engine opens it.

        Args:
            base_url: What comes before ``/chat/completions``.
            api_key: The bearer token, or an async callable that returns a fresh one. ``None``: none is sent.
            max_tokens_field: The endpoint's name for the limit of output tokens. Older servers, Ollama among them, only
                know ``max_tokens``, and ignore the newer name silently.
            **options: See `LiveOptions`.

        Raises:
            ValueError: ``base_url`` is not a URL, or a header is invalid.
        """
        super().__init__(base_url, api_key, **options)
        self._max_tokens_field: MaxTokensField = max_tokens_field

    def _call_model(self, prompt: Prompt) -> AsyncGenerator[BackendEvent]:
        request = prompt.request
        model, source = self._model_name(request.model), self._source(request.model)
        body = chat_body(request, prompt.items, model, max_tokens_field=self._max_tokens_field, source=source)
        reader = ChatStream(request.max_completion_tokens, source=source)
        return self._stream(reader, request, "/chat/completions", body=self._with_extra_fields(body, request))
