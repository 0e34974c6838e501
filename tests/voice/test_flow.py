"""The flow: fields whose paths and losses are known in closed form."""

from __future__ import annotations

import math

import pytest
import torch

from amalia_mm.voice.flow import flow_matching_loss, gaussian_velocity, guided, solve, step_times


def test_a_constant_field_is_followed_exactly_by_one_step():
    noise = torch.randn(2, 3, 4)
    for method in ("euler", "midpoint"):
        moved = solve(lambda place, time: torch.full_like(place, 1.5), noise, 1, method)
        torch.testing.assert_close(moved, noise + 1.5)


@pytest.mark.parametrize(("method", "order"), [("euler", 1), ("midpoint", 2)])
def test_the_solver_nears_the_exponential_as_its_order_says(method, order):
    """dx/dt = x carries 1 to e; twice as many steps are 2 or 4 times as near."""
    start = torch.ones(1, 1, 1, dtype=torch.float64)
    off = [math.e - float(solve(lambda place, time: place, start, steps, method)) for steps in (16, 32, 64)]
    assert off[0] / off[1] == pytest.approx(2**order, rel=0.1)
    assert off[1] / off[2] == pytest.approx(2**order, rel=0.1)


@pytest.mark.parametrize("sway", [-1.0, 0.0, 1.0])
def test_the_steps_go_from_nothing_to_one_whatever_their_sway(sway):
    times = step_times(7, sway)
    assert times[0] == 0.0
    assert times[-1] == pytest.approx(1.0)
    assert times == sorted(times)
    assert (times[1] < 1 / 7) == (sway < 0)


def test_a_solver_without_steps_and_steps_that_go_back_are_refused():
    for steps, sway in ((0, 0.0), (4, -1.5), (4, 2.0)):
        with pytest.raises(ValueError, match="num_steps"):
            solve(lambda place, time: place, torch.zeros(1, 1, 1), steps, sway=sway)


def test_the_field_of_a_gaussian_carries_noise_to_exactly_that_gaussian():
    """The path of a point is mean t + x0 sqrt((1 - t)^2 + t^2 std^2): at t = 1 mean + std x0."""
    mean, std = torch.tensor([[[2.0, -1.0]]], dtype=torch.float64), 0.3
    noise = torch.randn(1, 1, 2, dtype=torch.float64)
    moved = solve(lambda x, t: gaussian_velocity(x, t, mean, std), noise, 400, "midpoint")
    torch.testing.assert_close(moved, mean + std * noise, atol=1e-4, rtol=0)


def test_the_field_of_a_gaussian_is_the_mean_velocity_of_all_paths_through_a_place():
    """Drawn: of many pairs those that are near x at time t; their mean velocity, by a regression of slope and place."""
    generator = torch.Generator().manual_seed(0)
    num, time, mean, std = 400_000, 0.6, 1.5, 0.5
    noise = torch.randn(num, generator=generator, dtype=torch.float64)
    data = mean + std * torch.randn(num, generator=generator, dtype=torch.float64)
    place, velocity = (1 - time) * noise + time * data, data - noise
    off = place - place.mean()
    slope = float((off * (velocity - velocity.mean())).sum() / off.square().sum())
    at = torch.tensor([[[0.2]]], dtype=torch.float64)
    expected = float(velocity.mean()) + slope * (0.2 - float(place.mean()))
    found = gaussian_velocity(at, torch.tensor([time], dtype=torch.float64), torch.full_like(at, mean), std)
    assert float(found) == pytest.approx(expected, abs=0.01)


def test_the_loss_of_a_guess_is_that_computed_by_hand():
    """noise 1 and 3, data 2 and 8: velocities 1 and 5; a guess of 2 is off by 1 and 3, squares 1 + 9."""
    noise, data = torch.tensor([[[1.0, 3.0]]]), torch.tensor([[[2.0, 8.0]]])
    seen = []

    def guess(place, time):
        seen.append(place)
        return torch.full_like(place, 2.0)

    valid = torch.tensor([[True, True]])
    total, count = flow_matching_loss(guess, data, valid, torch.tensor([0.25]), noise)
    assert (float(total), float(count)) == (10.0, 2.0)
    assert seen[0].tolist() == [[[1.25, 4.25]]]
    total, count = flow_matching_loss(guess, data, torch.tensor([[True, False]]), torch.tensor([0.25]), noise)
    assert (float(total), float(count)) == (1.0, 1.0)


def test_the_best_constant_guess_is_the_mean_velocity_and_no_other():
    generator = torch.Generator().manual_seed(2)
    noise = torch.randn(1, 1, 5000, generator=generator)
    data = 0.7 + 0.2 * torch.randn(1, 1, 5000, generator=generator)
    valid, time = torch.ones(1, 5000, dtype=torch.bool), torch.tensor([0.5])
    best = float((data - noise).mean())
    losses = {
        by: float(
            flow_matching_loss(lambda x, t, by=by: torch.full_like(x, best + by), data, valid, time, noise)[0]
        )
        for by in (-0.1, 0.0, 0.1)
    }
    assert losses[0.0] < min(losses[-0.1], losses[0.1])
    # Around the best one the loss rises by the square of the distance, once for each number.
    assert losses[0.1] - losses[0.0] == pytest.approx(5000 * 0.01, rel=1e-3)
    assert losses[0.0] == pytest.approx(5000 * float((data - noise).var(correction=0)), rel=1e-4)


def test_guidance_of_one_is_the_condition_alone_and_of_zero_none_of_it():
    conditional, unconditional = torch.randn(1, 2, 3), torch.randn(1, 2, 3)
    torch.testing.assert_close(guided(conditional, unconditional, 1.0), conditional)
    torch.testing.assert_close(guided(conditional, unconditional, 0.0), unconditional)
    torch.testing.assert_close(
        guided(conditional, unconditional, 2.0), conditional + (conditional - unconditional)
    )
