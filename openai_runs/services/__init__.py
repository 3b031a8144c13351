"""One class per API resource, and nothing else; a method is one request, or hands over to `openai_runs.following`."""

from openai_runs._http.download import FileContent
from openai_runs._http.pages import Listing

__all__ = ["FileContent", "Listing"]
