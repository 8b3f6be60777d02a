"""An address that is another at each call, used to guess without end or to spend what is somebody else's."""

import pytest

from support.target import PROXY, Target

LIST_CHALLENGES = "challenge.v1.ChallengeService.ListChallenges"
FORWARDED = "x-forwarded-for"


async def test_made_up_hops_give_no_more_guesses(target: Target, address: str) -> None:
    """What the client itself wrote into the header is never its address, also where the proxy names a port."""
    reasons = [await target.guess((FORWARDED, f"6.6.6.{n}, {address}:{40000 + n}")) for n in range(12)]
    assert reasons == ["CREDENTIAL_INVALID"] * 10 + ["RATE_LIMITED"] * 2
    assert await target.buckets() == {f"rl:{{{address}}}:auth_endpoint"}


@pytest.mark.parametrize("entry", ["unknown", "", "_hidden", "203.0.113.7:", "[2001:db8::1", "1" * 200, "1.2.3.4.5"])
async def test_an_entry_that_cannot_be_read_is_not_skipped(target: Target, entry: str) -> None:
    """The proxy that wrote it is charged, not the entry before, which is the client's own."""
    await target.guess((FORWARDED, f"6.6.6.6, {entry}"))
    await target.guess((FORWARDED, "6.6.6.7"), (FORWARDED, entry))
    assert await target.buckets() == {f"rl:{{{PROXY}}}:auth_endpoint"}


async def test_thousand_entries_lead_nowhere(target: Target) -> None:
    """A header full of the proxy's own address is read only so far, and what stands behind is not believed."""
    await target.guess((FORWARDED, ",".join(["6.6.6.6", *[PROXY] * 600])))
    assert await target.buckets() == {f"rl:{{{PROXY}}}:auth_endpoint"}


async def test_a_network_of_ipv6_is_one_guesser(target: Target) -> None:
    """Whoever changes the last 64 bits at each attempt has ten all the same; another network has its own."""
    reasons = [await target.guess((FORWARDED, f"2001:db8:0:1::{n:x}")) for n in range(12)]
    assert reasons == ["CREDENTIAL_INVALID"] * 10 + ["RATE_LIMITED"] * 2
    assert await target.guess((FORWARDED, "2001:db8:0:2::1")) == "CREDENTIAL_INVALID"


async def test_an_address_has_one_spelling(target: Target, address: str) -> None:
    """However it is written, there is one bucket of it."""
    for spelling in ("2001:DB8:0:3:0:0:0:1", "[2001:db8:0:3::1]:443", "2001:0db8:0000:0003::0001", "2001:db8:0:3::9%1"):
        await target.guess((FORWARDED, spelling))
    for spelling in (address, f"::ffff:{address}", f"[::FFFF:{address}]:80", f"64:ff9b::{address}"):
        await target.guess((FORWARDED, spelling))
    expected = {"rl:{2001:db8:0:3::/64}:auth_endpoint", f"rl:{{{address}}}:auth_endpoint"}
    assert await target.buckets() == expected
    assert await target.left("auth_endpoint", "2001:DB8:0:3::ABCD") == 6
    assert await target.left("auth_endpoint", f"::ffff:{address}") == 6


async def test_a_call_without_a_credential_is_charged_to_its_address(target: Target, address: str) -> None:
    """What everybody may read is limited by address, and one address does not shut another out."""
    reasons = [await target.call(LIST_CHALLENGES, "", None, (FORWARDED, f"2001:db8:0:4::{n:x}")) for n in range(103)]
    assert reasons.count("RATE_LIMITED") >= 1
    assert await target.call(LIST_CHALLENGES, "", None, (FORWARDED, address)) == ""
    assert await target.buckets() == {"rl:{2001:db8:0:4::/64}:public_api", f"rl:{{{address}}}:public_api"}
