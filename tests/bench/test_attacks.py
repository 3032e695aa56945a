"""Every attack of the benchmark, cut short, on a server in this process."""

import asyncio

import pytest

pytest.importorskip("fastapi", reason="needs the extra `serve`")

from freelm.api import FreeLM
from freelm.bench.attacks import ATTACKER, ATTACKS, MODEL, Attack, under_attack
from freelm.serve.backend import ModelBackend
from freelm.serve.batching import Engine
from freelm.serve.http.limits import Limits
from freelm.serve.settings import Settings
from tiny_serve import live

REQUESTS = 12
SECONDS = 0.5
EXPECTED = {
    "largest requests": {"200", "429"},
    "64 completions a request": {"200", "429"},
    "small gzip, many long options": {"400"},
    "gzip bomb": {"413"},
    "deep JSON": {"400"},
    "malformed heads": {"400"},
    "two lengths": {"400"},
    "slow headers": {"not read"},
    "slow bodies": {"not read"},
    "answers that nobody reads": {"not read"},
}
"""Attack -> what its requests may be answered with."""
CUT_OFF = {"ReadTimeout", "TimeoutError"}
"""Counted for requests that are unanswered when the attack ends."""


@pytest.fixture(scope="module")
def server(freelm_folder):
    backend = ModelBackend(FreeLM.from_pretrained(str(freelm_folder)))
    limits = Limits()
    with live(Engine(backend, limits), Settings(names=("tiny", MODEL), limits=limits)) as found:
        yield found


@pytest.mark.slow
@pytest.mark.parametrize("name", ATTACKS)
def test_honest_requests_are_answered_during_and_after(server, name):
    attack = Attack(server.url, name, SECONDS, REQUESTS)
    honest = asyncio.run(under_attack(attack, ATTACKS[name]))
    assert 1 <= attack.tried <= REQUESTS
    assert set(attack.answers) - CUT_OFF <= EXPECTED[name]
    assert honest.offered >= 2
    assert set(honest.statuses) == {"200"}


def test_attackers_have_an_address_of_their_own_on_this_machine():
    assert ATTACKER.startswith("127.")
    assert ATTACKER != "127.0.0.1"


def test_an_attack_is_bounded_in_requests_and_time():
    attack = Attack("http://127.0.0.1:1", "any", 1_000, 3)
    assert [attack.goes_on() for _ in range(5)] == [True, True, True, False, False]
    assert not Attack("http://127.0.0.1:1", "any", 0, 3).goes_on()
