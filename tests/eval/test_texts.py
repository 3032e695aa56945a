import math

import numpy as np
import pytest

from freelm.errors import DataError
from freelm.eval.items import Item
from freelm.eval.texts import TextLoss, ending_predictions, window_loss, word_was_right


def test_bits_per_byte_by_hand():
    # 10 predicted tokens cost 10 ln 2 nats: 1 bit a token, which stands for 4 bytes.
    loss = TextLoss(np.array([4.0, 6.0]) * math.log(2), np.array([4, 6]), bytes_per_token=4.0)
    assert loss.per_token == pytest.approx(math.log(2))
    assert loss.perplexity == pytest.approx(2.0)
    assert loss.bits_per_byte == pytest.approx(0.25)


def test_the_interval_is_over_windows_and_repeats():
    rng = np.random.default_rng(0)
    loss = TextLoss(rng.uniform(10, 50, 40), np.full(40, 10), 4.0)
    low, high = loss.interval()
    assert low < loss.per_token < high
    assert loss.interval() == (low, high)
    same = TextLoss(np.full(40, 30.0), np.full(40, 10), 4.0)
    assert same.interval() == pytest.approx((3.0, 3.0))


def test_windows_that_predict_nothing_do_not_count():
    loss = TextLoss.of([(6.0, 3), (0.0, 0), (4.0, 2)], 4.0)
    assert (loss.nats.tolist(), loss.targets.tolist()) == ([6.0, 4.0], [3, 2])
    for windows in ([(0.0, 0)], []):
        with pytest.raises(DataError, match="no token of the text stands behind another"):
            TextLoss.of(windows, 4.0)


@pytest.mark.parametrize("change", [{"nats": math.inf}, {"nats": -1.0}, {"targets": 1.5}])
def test_a_line_that_is_no_window_is_refused(change):
    line = {"nats": 2.0, "targets": 3}
    assert window_loss(line) == (2.0, 3)
    with pytest.raises(ValueError, match="nats"):
        window_loss(line | change)


def test_a_line_that_does_not_say_whether_a_word_was_right_is_refused():
    assert [word_was_right({"right": right}) for right in (True, False)] == [True, False]
    with pytest.raises(ValueError, match="perhaps"):
        word_was_right({"right": "perhaps"})


def test_the_likeliest_ending_and_the_likeliest_per_byte_are_told_apart():
    rows = [
        Item("a", 0.0, [-3.0, -2.0, -0.1, -0.2], "d"),
        Item("b", 2.0, [-1.0, -9.0, -4.0, -1.0, -9.0, -0.5], "d"),
    ]
    found = ending_predictions(rows)
    assert found["completion_accuracy"].predicted.tolist() == [1, 0]
    assert found["completion_accuracy_norm"].predicted.tolist() == [0, 2]
    assert found["completion_accuracy"].targets.tolist() == [0, 2]
