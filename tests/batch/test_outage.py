"""`Outage`: for how long a batch bears that its endpoint is away, told by values."""

from openai_runs.batch.outage import Outage


def test_it_is_borne_for_a_while() -> None:
    """The patience counts from when the endpoint was away first, and anew once it has answered."""
    outage = Outage(60)
    for now in (100, 130, 159):
        outage.begin(now)
        assert outage.is_borne(now)
    outage.begin(160)
    assert not outage.is_borne(160)
    outage.end()
    outage.begin(161)
    assert outage.is_borne(220)


def test_no_patience() -> None:
    """With none, an outage is not borne at all."""
    outage = Outage(0)
    outage.begin(100)
    assert not outage.is_borne(100)
