"""Each target keeps its promises for every sample, and for a few inputs that nobody has thought of."""

from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.damage import damaged
from tests.fuzz.targets import TARGETS

pytestmark = pytest.mark.unmeasured


@pytest.mark.parametrize("name", TARGETS)
def test_samples(name):
    """The samples are inputs of their targets."""
    for seed in TARGETS[name].seeds:
        TARGETS[name].check(seed)


@pytest.mark.parametrize("name", TARGETS)
@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_damage(name, data):
    """Damaged samples and any bytes are taken or refused as the target's docstring says."""
    target = TARGETS[name]
    number = st.integers(0, 2**32)
    damage = st.builds(lambda seed, number: damaged(seed, Random(number)), st.sampled_from(target.seeds), number)
    target.check(data.draw(damage | damage | damage | st.binary(max_size=200)))
