"""Print ``N passed, N failed``, counted from pytest's reports; ``python .ci/summary.py EXIT_CODE FOLDER``.

It ends with that exit code. What failed and is no test (a lint rule, a type, an installation) is one failure more, and
so is a run without a test: red is never shown as "0 failed".
"""

import sys
from pathlib import Path
from xml.etree import ElementTree as ET

exit_code, folder = int(sys.argv[1]), Path(sys.argv[2])
counts = dict.fromkeys(("tests", "failures", "errors", "skipped"), 0)
for report in folder.glob("*.xml"):
    for suite in ET.parse(report).getroot().iter("testsuite"):
        for what in counts:
            counts[what] += int(suite.get(what, 0))
failed = counts["failures"] + counts["errors"]
passed = counts["tests"] - failed - counts["skipped"]
if not failed and (exit_code or not passed):
    failed = 1
print(f"{passed} passed, {failed} failed", flush=True)
sys.exit(exit_code or min(failed, 1))
