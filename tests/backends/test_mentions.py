"""`Mentions`: what a user has named, in any language that capitalises names."""

import pytest

from openai_runs.backends.mentions import Mentions


def anything(_: object) -> bool:
    return True


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("Weather in Lisbon?", ["Lisbon"]),
        ("From New York to Aix-en-Provence, then New York", ["New York", "Aix-en-Provence"]),
        ("How is it? Well. I'm in Oslo, I think", ["Oslo"]),
        ('He said: "Paris is fine"\nParis', []),
        ("¿Qué tiempo hace en Ávila hoy?", ["Ávila"]),
        ("wie ist das Wetter in Zürich", ["Wetter", "Zürich"]),
        ("", []),
    ],
)
def test_names(text: str, names: list[str]):
    """Capitalised words, but not those that only begin a sentence; several in a row are one name, which counts once."""
    found = Mentions.of([text])
    assert [found.name(anything) for _ in names] == names
    assert found.name(anything) is None


def test_dates_and_numbers():
    """A date is not three numbers, and what is only part of a word or a time is no number."""
    found = Mentions.of(["On 2027-03-04 at 10:30, 12b, -3.5 degrees and 7 bags, not 2027-13-01."])
    assert [found.date(anything), found.date(anything)] == ["2027-03-04", None]
    assert [found.number(anything), found.number(anything), found.number(anything)] == [-3.5, 7, None]


def test_what_fits():
    """A mention that does not fit is left for later."""
    found = Mentions.of(["to Oslo", "to Rio"])
    assert found.name(lambda name: len(name) < 4) == "Rio"
    assert found.name(anything) == "Oslo"


def test_a_long_text():
    """Only its beginning is read."""
    assert Mentions.of(["a " * 10_000 + "Oslo"]).name(anything) is None
