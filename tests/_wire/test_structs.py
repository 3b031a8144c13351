"""Structs: what msgspec decodes JSON text into, and how a model is made of that."""

import msgspec
import pytest

from openai_runs._wire.structs import Structs
from openai_runs.models.message import Message, Text
from openai_runs.models.model import NO_EXTRA
from openai_runs.models.page import Page
from openai_runs.models.run import Run, RunStatus
from openai_runs.models.thread import Thread
from openai_runs.models.tool import CodeInterpreterTool, NamedToolChoice, SubmitToolOutputs
