"""The order of a stage's samples: passes, balance, buckets, shares, memory."""

from __future__ import annotations

import tracemalloc
from collections import Counter

import numpy as np
import pytest
from stage_inputs import example, stage

from medblip.training.balancing import balanced_order, groups_of
from medblip.training.schedule import SHOWN, Schedule, make_schedule

EXAMPLES = [
    *(example(i, cohort="big", label="NC") for i in range(12)),
    *(example(i, cohort="big", label="AD") for i in range(3)),
    *(example(i, cohort="small", label="AD") for i in range(2)),
]


def test_a_schedule_is_whole_shuffled_passes_and_depends_on_the_seed_alone() -> None:
    draws = list(make_schedule(20, stage(), seed=1))
    assert len(draws) == 400
    counts = Counter(d.example for d in draws)
    assert set(counts.values()) == {20}
    assert sorted(d.example for d in draws[:20]) == list(range(20))
    assert draws == list(make_schedule(20, stage(), seed=1))
    assert draws != list(make_schedule(20, stage(), seed=2))


def test_a_longer_schedule_shows_inputs_in_the_asked_shares() -> None:
    shares = {"without_image": 0.2, "blank_image": 0.1, "without_record": 0.3}
    draws = make_schedule(10, stage(steps=1000, **shares), seed=0)
    counts = Counter(d.shown for d in draws)
    for shown, share in (("record", 0.2), ("blank", 0.1), ("image", 0.3), ("both", 0.4)):
        # 8000 draws: four standard deviations are 0.022.
        assert counts[shown] / len(draws) == pytest.approx(share, abs=0.022)


@pytest.mark.parametrize(
    ("balance", "groups"),
    [("class", {"NC", "AD"}), ("cohort", {"big", "small"}), ("class_and_cohort", 3)],
)
def test_each_group_comes_equally_often_and_none_repeats_before_all_came(
    balance: str, groups: set[str] | int
) -> None:
    numbers = groups_of(EXAMPLES, balance)  # type: ignore[arg-type]
    assert numbers is not None
    assert len(set(numbers.tolist())) == (groups if isinstance(groups, int) else len(groups))
    order = balanced_order(numbers, 301, np.random.default_rng(0))
    counts = Counter(numbers[order].tolist()).values()
    assert max(counts) - min(counts) <= 1
    for number in set(numbers.tolist()):
        members = np.flatnonzero(numbers == number).tolist()
        drawn = [i for i in order.tolist() if i in members]
        for start in range(0, len(drawn) - len(members) + 1, len(members)):
            assert sorted(drawn[start : start + len(members)]) == members


def test_groups_are_what_is_asked_for_and_change_the_order_alone() -> None:
    assert groups_of(EXAMPLES, "none") is None
    by_cohort = groups_of(EXAMPLES, "cohort")
    assert by_cohort is not None
    assert [EXAMPLES[i].cohort for i in np.flatnonzero(by_cohort == 1)] == ["small"] * 2
    draws = make_schedule(len(EXAMPLES), stage(), 3, by_cohort)
    assert len(draws) == 400
    assert Counter(EXAMPLES[d.example].cohort for d in draws) == {"big": 200, "small": 200}
    assert list(draws) == list(make_schedule(len(EXAMPLES), stage(), 3, by_cohort))


def test_buckets_put_similar_lengths_into_a_batch_and_leave_the_samples_the_same() -> None:
    asked = {"without_image": 0.3, "without_record": 0.3}
    lengths = np.random.default_rng(0).integers(10, 100, (len(SHOWN), 20))
    plain = make_schedule(20, stage(**asked), 1)
    sorted_ = make_schedule(20, stage(bucket=10, **asked), 1, lengths=lengths)
    key = repr
    for start in range(0, 400, 80):  # of ten steps, the samples stay among them
        window = slice(start, start + 80)
        assert sorted(plain[window], key=key) == sorted(sorted_[window], key=key)

    def spread(draws: Schedule) -> float:
        drawn = lengths[draws.shown, draws.examples].reshape(-1, 8)
        return float((drawn.max(1) - drawn.min(1)).mean())

    assert spread(sorted_) < 0.3 * spread(plain)
    longest = lengths[sorted_.shown, sorted_.examples].reshape(-1, 8).max(1)[:10].tolist()
    assert longest != sorted(longest)  # batches are shuffled again
    assert list(sorted_) == list(make_schedule(20, stage(bucket=10, **asked), 1, lengths=lengths))


def test_the_last_bucket_may_be_smaller_and_no_steps_are_no_draws() -> None:
    lengths = np.arange(len(SHOWN) * 20).reshape(len(SHOWN), 20)
    draws = make_schedule(20, stage(steps=7, bucket=4), 1, lengths=lengths)
    plain = make_schedule(20, stage(steps=7), 1)
    assert sorted(draws, key=repr) == sorted(plain, key=repr)
    assert len(make_schedule(20, stage(steps=0, bucket=4), 1, lengths=lengths)) == 0


def test_three_million_draws_are_nine_bytes_each() -> None:
    tracemalloc.start()
    draws = make_schedule(30_000, stage(steps=187_500, batch_size=16), 0)
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(draws) == 3_000_000
    assert kept < 28_000_000
    assert peak < 150_000_000
