"""The TOML file of policies: what it may say, and how its mistakes are told."""

from pathlib import Path

import pytest

from wingmanmatch_server.ratelimit import policy_file
from wingmanmatch_server.ratelimit.policies import Outage, Policies, outside, resized
from wingmanmatch_server.ratelimit.policy_file import PolicyFile, PolicyFileError, line_of, parse_policies


def test_without_a_file_the_built_in_policies_are_in_force() -> None:
    """Their capacities and intervals are those that the protos' users were promised."""
    limits = {
        name: (policy.limit.capacity, policy.limit.interval) for name, policy in parse_policies("").by_name.items()
    }
    assert limits == {
        "auth_endpoint": (10, 10_000_000),
        "candidate_pages": (200, 432_000_000),
        "backend_api": (2000, 1000),
        "challenge_submit": (20, 5_000_000),
        "email_send": (3, 100_000_000),
        "match_request": (5, 20_000_000),
        "profile_relocation": (3, 28_800_000_000),
        "public_api": (100, 1_000_000),
    }


def test_the_example_in_the_module_is_valid() -> None:
    """What the documentation shows can be used as it is."""
    example = "\n".join(line for line in (policy_file.__doc__ or "").splitlines() if line.startswith("    "))
    policies = parse_policies(example)
    assert policies.replicas == 3
    assert policies.policy("public_api").limit.capacity == 200
    assert policies.policy("public_api").limit.interval == 1_000_000
    search = policies.policy("search")
    assert (search.limit.shadow, search.limit.outage) == (True, Outage.DENY)
    assert search.limit_for("anybody", "partner").capacity == 300
    assert search.limit_for("load-test", "partner").unlimited


def test_the_files_own_policies_are_not_internal() -> None:
    """Those that the server charges by stay internal, whatever the file makes of them."""
    policies = parse_policies(
        "[policies.search]\ncapacity = 1\nrefill_per_second = 1\n[policies.public_api]\ncapacity = 5\n"
    )
    assert {name for name, policy in policies.by_name.items() if not policy.internal} == {"search"}


def test_callers_have_buckets_apart_under_internal_policies() -> None:
    """The keys differ under internal policies, those of overrides too, and are the same under the file's own."""
    text = "capacity = 1\nrefill_per_second = 1\n"
    override = f'caller = "partner"\n{text}'
    policies = parse_policies(
        f"[policies.search]\n{text}[[policies.search.overrides]]\n{override}[[policies.public_api.overrides]]\n{override}"
    )

    def keys(of: Policies, policy: str) -> list[str]:
        return [of.policy(policy).limit_for("ann", caller).key_of("ann") for caller in ("booking", "partner")]

    assert keys(policies, "search") == ["rl:{ann}:search", "rl:{ann}:search@partner"]
    assert keys(outside(policies), "search") == keys(policies, "search")
    assert keys(policies, "public_api") == ["rl:{ann}:public_api", "rl:{ann}:public_api@partner"]
    assert keys(outside(policies), "public_api") == [f"{key}+outside" for key in keys(policies, "public_api")]


def test_addresses_of_a_policy_have_one_spelling() -> None:
    """Overrides of an address and buckets of it are found however it is written; other policies take text as it is."""
    policies = parse_policies(
        "[policies.login]\ncapacity = 1\nrefill_per_second = 1\naddresses = true\n"
        '[[policies.login.overrides]]\nsubject = "2001:DB8::7"\nunlimited = true\n'
        "[policies.search]\ncapacity = 1\nrefill_per_second = 1\n"
    )
    login, search = policies.policy("login"), policies.policy("search").limit
    assert login.limit_for("2001:db8:0:0:1::1", "").unlimited
    assert not login.limit_for("2001:db8:0:1::1", "").unlimited
    assert login.limit.keys_of(["2001:DB8::1", "::ffff:203.0.113.7", "ann"]) == [
        "rl:{2001:db8::/64}:login",
        "rl:{203.0.113.7}:login",
        "rl:{ann}:login",
    ]
    assert search.keys_of(["2001:DB8::1"]) == [search.key_of("2001:DB8::1")] == ["rl:{2001:DB8::1}:search"]
    assert parse_policies("[policies.public_api]\ncapacity = 5").policy("public_api").limit.addresses


@pytest.mark.parametrize(("calls", "interval"), [(1, 1_000_000), (7, 142_857), (3000, 333), (100_000, 10)])
def test_a_backends_size_is_its_calls_a_second(calls: int, interval: int) -> None:
    """A token takes whole microseconds, and two seconds' calls may be made at once; the rest is the policy's."""
    policies = parse_policies("[policies.backend_api]\noutage = 'deny'\n")
    limit = resized(policies.policy("backend_api").limit, calls)
    assert (limit.capacity, limit.interval, limit.outage) == (2 * calls, interval, Outage.DENY)


def test_versions_tell_policies_apart() -> None:
    """The version follows from what the file says, not from how it is written."""
    one = parse_policies("[policies.public_api]\ncapacity = 5\n").version
    assert parse_policies("# comment\npolicies.public_api.capacity = 5").version == one
    assert len({one, parse_policies("").version, parse_policies("replicas = 2").version}) == 3


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[policies.public_api]\ncapacity = ", "line 2: Invalid value"),
        ("[policies.public_api]\n\ncapacity = -1", "line 3: policies.public_api.capacity: Input should be greater"),
        (
            "[policies.public_api]\ncapacity = 1.5",
            "line 2: policies.public_api.capacity: Input should be a valid integer",
        ),
        ("# one\n[policies.public_api]\nsize = 3", "line 3: policies.public_api.size: Extra inputs"),
        ("[policies.new]\ncapacity = 3", "line 1: policies.new: a new policy needs capacity and refill_per_second"),
        ("[policies.new]\ncapacity = 3\nrefill_per_second = 0", "line 3: policies.new.refill_per_second: must be more"),
        ("[policies.new]\nrefill_per_second = 6000", "line 2: policies.new.refill_per_second: is too fast to be kept"),
        (
            "[policies.new]\ncapacity = 2_000_000_000\nrefill_per_second = 1e-7",
            "line 1: policies.new: takes more than 140",
        ),
        ("[policies.New]\ncapacity = 3\nrefill_per_second = 1", "line 1: policies.New: String should match pattern"),
        (
            "[policies.email_send]\noutage = 'open'",
            "line 2: policies.email_send.outage: Input should be 'local', 'allow'",
        ),
        (
            "[policies.email_send]\nunlimited = true\ncapacity = 1",
            "line 1: policies.email_send: unlimited goes without",
        ),
        ("replicas = 0", "line 1: replicas: Input should be greater than or equal to 1"),
        (
            "[[policies.email_send.overrides]]\nsubject='a'\nunlimited=true\n[[policies.email_send.overrides]]\ncapacity=1",
            "line 4: policies.email_send.overrides.1: needs either subject or caller",
        ),
        (
            "[[policies.email_send.overrides]]\nsubject = 'a'\ncapacity = 'many'\nrefill_per_second = 1",
            "line 3: policies.email_send.overrides.0.capacity: Input should be a valid integer",
        ),
    ],
)
def test_mistakes_are_named_with_their_line(text: str, problem: str) -> None:
    """A person finds what to correct."""
    with pytest.raises(PolicyFileError) as caught:
        parse_policies(text)
    assert caught.value.problems[0].startswith(problem)


def test_all_mistakes_are_told_at_once() -> None:
    """One look at the message is enough to correct the file."""
    with pytest.raises(PolicyFileError) as caught:
        parse_policies("replicas = 0\n[policies.public_api]\ncapacity = -1\nsize = 1")
    assert len(caught.value.problems) == 3


def test_lines_of_dotted_keys() -> None:
    """A key is found however its tables are written."""
    text = "policies.a.capacity = 1\n\n[policies]\nb.capacity = 2\n['policies'.c]\n'capacity' = 3"
    assert [line_of(text, ("policies", name, "capacity")) for name in "abc"] == [1, 4, 6]
    assert line_of(text, ("policies", "d")) == 3


async def test_a_broken_file_changes_nothing(tmp_path: Path) -> None:
    """The last good policies stay until the file is good again, also when it is gone for a while."""
    path = tmp_path / "limits.toml"
    path.write_text("[policies.public_api]\ncapacity = 5\n")
    file = PolicyFile(path)
    version = file.policies.version
    for spoil in (lambda: path.write_text("nonsense"), path.unlink, lambda: path.write_bytes(b"\xff")):
        spoil()
        assert not await file.reload()
        assert (file.usable, file.policies.version) == (False, version)
    path.write_text("[policies.public_api]\ncapacity = 6\n")
    assert await file.reload()
    assert (file.usable, file.policies.policy("public_api").limit.capacity) == (True, 6)
    assert not await file.reload()


async def test_a_file_swapped_behind_a_link_is_seen(tmp_path: Path) -> None:
    """Mounted configuration changes by a link that points elsewhere."""
    for name, capacity in (("one", 1), ("two", 2)):
        (tmp_path / name).write_text(f"[policies.public_api]\ncapacity = {capacity}\n")
    link = tmp_path / "limits.toml"
    link.symlink_to(tmp_path / "one")
    file = PolicyFile(link)
    (tmp_path / "new").symlink_to(tmp_path / "two")
    (tmp_path / "new").rename(link)
    assert await file.reload()
    assert file.policies.policy("public_api").limit.capacity == 2


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    """The server does not start on policies that nobody wrote."""
    with pytest.raises(PolicyFileError, match=r"RATE_LIMITS_FILE cannot be used: .*FileNotFoundError"):
        PolicyFile(tmp_path / "none.toml")


def test_keys_of_odd_subjects_stay_apart() -> None:
    """Whatever a subject is called, its buckets share one hash tag and nobody else's key."""
    limit = parse_policies("").policy("public_api").limit
    keys = {limit.key_of(subject) for subject in ("a", "a}", "a%7D", "}", "{", "a:b", "a}:b")}
    assert len(keys) == 7
    assert all(key.count("}") == 1 for key in keys)
