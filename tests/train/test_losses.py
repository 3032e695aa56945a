from math import log

import pytest
import torch

from freelm.data.teacher import TeacherExample
from freelm.train.losses import teacher_loss, verdict_weights


def example(truths, signs=None, one_of=True):
    signs = signs or (1,) * len(truths)
    claims = tuple(f"claim {i}" for i in range(len(truths)))
    return TeacherExample("t/train/0", ("context",), claims, tuple(truths), tuple(signs), one_of)


def loss(margins, *examples, listwise=0.0):
    return float(teacher_loss(torch.tensor(margins, dtype=torch.float64), examples, listwise))


@pytest.mark.parametrize(
    ("truths", "on_true", "on_false"),
    [
        ((1, 0), (0.5, 0), (0, 0.5)),
        ((0, 1, 0, 0), (0, 0.5, 0, 0), (1 / 6, 0, 1 / 6, 1 / 6)),
        ((1, 1, 0), (0.25, 0.25, 0), (0, 0, 0.5)),
        # Graded: the true mass is 1, the false mass 2.
        ((0.25, 0.75, 0), (0.125, 0.375, 0), (0.1875, 0.0625, 0.25)),
        ((1, 1), (0.5, 0.5), (0, 0)),
        ((0, 0, 0, 0), (0, 0, 0, 0), (0.25, 0.25, 0.25, 0.25)),
        ((1,), (1,), (0,)),
        ((0.5,), (0.5,), (0.5,)),
    ],
)
def test_verdict_weights(truths, on_true, on_false):
    assert verdict_weights(truths) == (pytest.approx(on_true), pytest.approx(on_false))


@pytest.mark.parametrize(
    "truths", [(1, 0), (1,), (0,), (1, 1, 1), (0, 0), (0.3, 0.7, 0, 0), (1, 0.2, 0, 0, 0)]
)
def test_weights_sum_to_one_per_example(truths):
    on_true, on_false = verdict_weights(truths)
    assert sum(on_true) + sum(on_false) == pytest.approx(1)


# Margins 0, ln 3 and -ln 3 are probabilities 1/2, 3/4 and 1/4.


def test_verdict_loss_of_one_true_and_one_false_claim():
    # 1/2 (-ln 1/2) + 1/2 (-ln 1/4)
    assert loss([0.0, log(3)], example((1, 0))) == pytest.approx(1.5 * log(2))


def test_verdict_loss_with_several_false_claims():
    # 1/2 (-ln 3/4) + 1/6 (-ln 1/2 - ln 1/4 - ln 3/4)
    expected = -0.5 * log(0.75) - (log(0.5) + log(0.25) + log(0.75)) / 6
    assert loss([log(3), 0.0, log(3), -log(3)], example((1, 0, 0, 0))) == pytest.approx(expected)


def test_verdict_loss_of_graded_truths():
    expected = -(0.125 + 0.1875) * log(0.5) - 0.375 * log(0.75) - 0.0625 * log(0.25)
    expected -= 0.25 * log(0.75)
    assert loss([0.0, log(3), -log(3)], example((0.25, 0.75, 0))) == pytest.approx(expected)


def test_verdict_loss_where_all_claims_are_true_or_all_false():
    assert loss([0.0, log(3)], example((1, 1))) == pytest.approx(-(log(0.5) + log(0.75)) / 2)
    assert loss([0.0, log(3)], example((0, 0))) == pytest.approx(-(log(0.5) + log(0.25)) / 2)


def test_losses_of_several_examples_add_up_in_order():
    one, other = example((1, 0)), example((0, 0, 1))
    together = loss([0.1, -0.4, 2.0, 0.3, -1.0], one, other, listwise=0.7)
    apart = loss([0.1, -0.4], one, listwise=0.7) + loss([2.0, 0.3, -1.0], other, listwise=0.7)
    assert together == pytest.approx(apart)


@pytest.mark.parametrize(
    ("margins", "truths", "signs"),
    [
        ([log(2), 0.0, 0.0], (1, 0, 0), (1, 1, 1)),
        ([0.0, 0.0, log(2)], (0, 0, 1), (1, 1, 1)),
        # The right option through its opposite, which is false and has margin -ln 2.
        ([-log(2), 0.0, 0.0], (0, 0, 0), (-1, 1, 1)),
        # A wrong option through its opposite, which is true.
        ([log(2), 0.0, 0.0], (1, 1, 0), (1, -1, 1)),
        ([-log(2), 0.0, 0.0], (0, 1, 1), (-1, -1, -1)),
    ],
)
def test_listwise_loss_picks_the_right_option(margins, truths, signs):
    # softmax(ln 2, 0, 0) gives the right option 2/4.
    it = example(truths, signs)
    assert loss(margins, it, listwise=1.0) - loss(margins, it) == pytest.approx(log(2))
    assert loss(margins, it, listwise=0.25) - loss(margins, it) == pytest.approx(log(2) / 4)


@pytest.mark.parametrize("it", [example((0.4, 0.6, 0), one_of=False), example((1,))])
def test_no_listwise_loss_for_levels_and_single_claims(it):
    margins = [0.5, 1.5, -2.0][: len(it.claims)]
    assert loss(margins, it, listwise=3.0) == loss(margins, it)


def test_large_margins_stay_finite_and_have_gradients():
    margins = torch.tensor([1e4, -1e4], requires_grad=True)
    total = teacher_loss(margins, [example((0, 1))], 1.0)
    total.backward()
    assert torch.isfinite(total)
    assert torch.isfinite(margins.grad).all()
    assert (margins.grad * torch.tensor([1, -1]) > 0).all()


def test_the_gradient_is_that_of_the_formula():
    margins = torch.tensor([0.3, -0.8, 1.1], dtype=torch.float64, requires_grad=True)
    it = example((0, 1, 0), (1, -1, 1))
    assert torch.autograd.gradcheck(lambda m: teacher_loss(m, [it], 0.5), (margins,))
