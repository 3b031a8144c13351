"""Debian's ``chromium``, or the one that ``CHROMIUM`` names: one for all tests of a file."""

import os
import shutil
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, async_playwright


@pytest.fixture(scope="module")
async def browser(anyio_backend: str) -> AsyncIterator[Browser]:
    """What one of its contexts knows, such as cookies, no other one does; a test opens its own, and closes it."""
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    assert chromium, "install Debian's chromium, or name one in CHROMIUM"
    async with async_playwright() as playwright:
        # Without its sandbox, since continuous integration often is root; it visits nothing but servers of ours.
        browser = await playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        await browser.close()
