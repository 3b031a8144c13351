"""How Sphinx builds these pages; `nox -s docs` does it without the network."""

import sys
from importlib.metadata import version as version_of
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # for our own extensions

project = "openai_runs"
author = copyright = "openai_runs contributors"
version = release = version_of("openai_runs")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "draw_batch",
    "draw_lifecycle",
    "draw_performance",
    "write_capabilities",
    "write_options",
    "write_rooms",
]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "openai_runs"
copybutton_prompt_text = "$ "
copybutton_line_continuation_character = "\\"
copybutton_only_copy_prompt_lines = True  # the other lines are what a command prints

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_class_signature = "separated"  # a model's arguments are its fields, which follow
maximum_signature_line_length = 100  # one parameter a line where there are many
autodoc_default_options = {"members": True, "undoc-members": True, "exclude-members": "__new__, __init__"}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True  # attributes named in a class docstring are described once, not twice

# A name in single backticks is a link where there is something to link to.
default_role = "py:obj"
suppress_warnings = ["ref.python"]  # `object` is a field of many models, and a builtin
nitpick_ignore_regex = [
    ("py:.*", r"(?!openai_runs\b).*"),  # other projects' inventories would need the network
    ("py:.*", r"openai_runs\.(.*\.)?_.*"),  # private
    ("py:.*", r"openai_runs\..*T(_co)?"),  # type variables
]
