"""The API's wire format: JSON to models and back, checks of request parameters, the API's paths. No I/O."""

from openai_runs._wire.converting import dump, dump_as_read, encode, load
from openai_runs._wire.json_text import decode, encode_plain

__all__ = ["decode", "dump", "dump_as_read", "encode", "encode_plain", "load"]
