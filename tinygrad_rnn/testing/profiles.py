"""Settings of Hypothesis for numerical tests."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, settings

__all__ = ["PROFILES", "profile"]

PROFILES: dict[str, dict[str, Any]] = {
    "dev": {"max_examples": 30},
    "ci": {"max_examples": 30, "derandomize": True},
    "short": {"max_examples": 5, "derandomize": True},
    "intense": {"max_examples": 1000},
}


def profile(name: str, **changes: Any) -> settings:
    """Settings for numerical tests: a decorator for one test, or what to register for all.

    There is no deadline, since the first call of a kernel compiles it, and there are no complaints about slow or large
    inputs. ``ci`` draws the same examples on each run; ``intense`` draws a thousand.

    Parameters
    ----------
    name : "dev", "ci", "short" or "intense"
    **changes
        Settings of Hypothesis that differ, as ``max_examples=200``.

    Examples
    --------
    >>> import tinygrad_rnn as tg
    >>> tg.testing.profile("ci").max_examples, tg.testing.profile("ci").deadline
    (30, None)
    """
    if name not in PROFILES:
        raise ValueError(f"profile: there are {', '.join(PROFILES)}; got {name!r}")
    quiet = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.differing_executors]
    facts: dict[str, Any] = {"deadline": None, "suppress_health_check": quiet, **PROFILES[name], **changes}
    return settings(settings.get_profile("default"), **facts)
