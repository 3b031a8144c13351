"""Takes the pictures of the page and the terminal that these documents show: ``python docs/take_pictures.py``.

The page is seen by Debian's ``chromium``, or by the browser that ``CHROMIUM`` names; the pictures go to
``docs/pictures``, or to the folder that is named. What they show is run while they are taken.
"""

import asyncio
import io
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import termios
from collections.abc import Sequence
from fcntl import ioctl
from pathlib import Path
from typing import Final

import anyio
from attrs import frozen
from playwright.async_api import Browser, async_playwright, expect
from rich.console import Console
from rich.text import Text

from openai_runs import Run, Session, Toolbox
from openai_runs.backends import Call, Fail, Say, ScriptedBackend, Wait
from openai_runs.backends.model_backend import ModelRequest
from openai_runs.backends.scripted import Turn
from openai_runs.models.message import Message
from openai_runs.server import LocalServer

FOLDER: Final = Path(__file__).parent / "pictures"
WIDE, NARROW = {"width": 1180, "height": 760}, {"width": 390, "height": 760}

PACK = "What do I pack for Lisbon?"
REFUND = "Refund order 1042, please."
LONG = "Write to all who asked about the delay."
PORTO = "Which museums are open in Porto on Monday?"
BROKEN = "Translate the menu."

desk = Toolbox()


@desk.tool
async def get_weather(city: str, day: str) -> str:
    """The weather of a day in a city."""
    await anyio.sleep(1.1)
    return f"{city}, {day}: 21 °C, sunny, wind from the north-west"


@desk.tool
async def find_trips(city: str) -> str:
    """Trips from a city."""
    await anyio.sleep(0.6)
    return f"{city} to Sintra by train, 40 minutes; to Cascais by train, 33 minutes"


def script(gate: anyio.Event) -> ScriptedBackend:
    """A model that knows its part."""

    def turn(request: ModelRequest) -> Turn:
        said = next(item.text for item in request.items if isinstance(item, Message))
        is_first = isinstance(request.items[-1], Message)
        match said:
            case _ if said == PACK and is_first:
                calls = [Call("get_weather", {"city": "Lisbon", "day": day}) for day in ("Saturday", "Sunday")]
                return [Say("I look at the weather first."), *calls, Call("find_trips", {"city": "Lisbon"})]
            case _ if said == PACK:
                return Say("Light clothes, sunglasses and a windproof jacket: 21 °C and sunny, with wind on both days")
            case _ if said == REFUND and is_first:
                return Call("refund_order", {"order": 1042, "amount": "39.90 EUR"})
            case _ if said == LONG:
                return [Say("Dear customer,\n\nyour parcel has left our warehouse"), Wait(gate), Say(" today.")]
            case _ if said == BROKEN:
                return Fail()
        return Say("Soares dos Reis is closed on Mondays; Serralves and the World of Wine are open.")

    return ScriptedBackend(turn)


@frozen
class Scene:
    """A server with runs in many states."""

    server: LocalServer
    session: Session
    packing: Run  #: has ended, after calls of tools
    asking: Run  #: waits for an answer
    writing: Run  #: its model is writing

    @property
    def origin(self) -> str:
        """Where the page is."""
        return self.server.url.removesuffix("/v1")


async def play(server: LocalServer, session: Session) -> Scene:
    """Start runs, some of which end."""
    travel = await session.assistants.create(model="gpt-4o-mini", name="Travel desk", tools=desk.tools)
    orders = await session.assistants.create(model="gpt-4o", name="Orders")

    async def start(text: str, assistant_id: str) -> Run:
        thread = {"messages": [{"role": "user", "content": text}]}
        return await session.threads.create_and_run(assistant_id=assistant_id, thread=thread)

    for text in PORTO, BROKEN, PORTO:
        async for _ in session.runs.follow(await start(text, travel.id)):
            pass
    packing = await session.runs.complete(await start(PACK, travel.id), toolbox=desk)
    asking = await start(REFUND, orders.id)
    async for _ in session.runs.follow(asking):
        break
    return Scene(server, session, packing, asking, await start(LONG, orders.id))


async def take_page(scene: Scene, browser: Browser, folder: Path) -> None:
    """Photograph the console: all runs, and one."""
    views = [
        ("page-runs", "/", WIDE, "light"),
        ("page-runs-dark", "/", WIDE, "dark"),
        ("page-runs-narrow", "/", NARROW, "light"),
        ("page-run", f"/console/runs/{scene.packing.id}", WIDE, "light"),
        ("page-run-dark", f"/console/runs/{scene.packing.id}", WIDE, "dark"),
        ("page-writing", f"/console/runs/{scene.writing.id}", WIDE, "light"),
        ("page-answer", f"/console/runs/{scene.asking.id}", WIDE, "light"),
    ]
    for name, path, viewport, scheme in views:
        page = await browser.new_page(viewport=viewport, color_scheme=scheme, device_scale_factor=1.25)
        await page.goto(scene.origin + path)
        await expect(page.locator("h1")).to_be_visible()
        await page.screenshot(path=folder / f"{name}.png", full_page=name.startswith("page-run-") or name == "page-run")
        await page.close()


async def take_empty_page(browser: Browser, folder: Path) -> None:
    """Photograph the console of a server without runs."""
    async with LocalServer() as server:
        page = await browser.new_page(viewport=WIDE, device_scale_factor=1.25)
        await page.goto(server.url.removesuffix("/v1"))
        await page.screenshot(path=folder / "page-empty.png")
        await page.close()


def said_in_a_terminal(command: Sequence[str], columns: int, url: str) -> str:
    """What a command prints in a terminal, with its colours."""
    ours, theirs = pty.openpty()
    ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    environment = os.environ | {"OPENAI_BASE_URL": url, "TERM": "xterm-256color", "COLUMNS": str(columns)}
    process = subprocess.Popen(command, stdout=theirs, stderr=theirs, stdin=theirs, env=environment)  # noqa: S603  # our own
    os.close(theirs)
    said = b""
    try:
        while data := os.read(ours, 65536):
            said += data
    except OSError:  # how Linux says that the other end is closed
        pass
    os.close(ours)
    if process.wait():
        raise RuntimeError(f"{command} failed: {said.decode()}")
    return re.sub(r"\x1b\[\?\d+[hl]", "", said.decode()).replace("\r\n", "\n")


def take_terminal(arguments: Sequence[str], columns: int, url: str, target: Path) -> None:
    """Draw what a command of ours prints as an SVG, without fonts from elsewhere."""
    text = said_in_a_terminal([sys.executable, "-m", "openai_runs", *arguments], columns, url)
    console = Console(record=True, width=columns, file=io.StringIO(), force_terminal=True)
    console.print(Text.from_ansi(f"$ openai-runs {' '.join(arguments)}"), style="bold")
    console.print(Text.from_ansi(text))
    drawn = console.export_svg(title="")
    target.write_text(re.sub(r"\s*@font-face \{.*?\}", "", drawn, flags=re.DOTALL), "utf-8")


async def main(folder: Path) -> None:
    """Take all pictures."""
    gate = anyio.Event()
    async with (
        LocalServer(backend=script(gate)) as server,
        server.session() as session,
        async_playwright() as playwright,
    ):
        chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
        if not chromium:
            raise SystemExit("install Debian's chromium, or name a browser in CHROMIUM")
        browser = await playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        scene = await play(server, session)
        await take_empty_page(browser, folder)
        await take_page(scene, browser, folder)
        for name, arguments, columns in (
            ("terminal-run", ["runs", "show", scene.packing.id], 100),
            ("terminal-runs", ["runs", "list"], 100),
        ):
            await asyncio.to_thread(take_terminal, arguments, columns, server.url, folder / f"{name}.svg")
        await browser.close()
        gate.set()


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    target.mkdir(parents=True, exist_ok=True)
    asyncio.run(main(target))
