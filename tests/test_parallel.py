"""Threads: results in order, a bounded number of items in work, and errors at the right time."""

import threading

import pytest

from brats.errors import Failed, InputError
from brats.parallel import in_order, read_ahead, run_per_case, write_behind

WAIT_S = 10  # An event that is waited for comes at once, unless the test fails.


def test_results_come_in_order_although_the_first_item_ends_last():
    second_done = threading.Event()

    def double(item):
        if item == 0:
            assert second_done.wait(WAIT_S)
        if item == 1:
            second_done.set()
        return 2 * item

    assert list(in_order(double, range(10), workers=2)) == list(range(0, 20, 2))


def test_no_more_items_are_taken_than_there_are_workers_and_one_more():
    taken = []

    def items():
        for item in range(10):
            taken.append(item)
            yield item

    results = in_order(lambda item: item, items(), workers=3)
    assert next(results) == 0 and taken == [0, 1, 2, 3]
    results.close()
    assert taken == [0, 1, 2, 3]


def fail_at(bad, error):
    """Returns a function of one item that appends it to `done`, or raises an error at one item."""

    def function(item):
        if item == bad:
            raise error
        done.append(item)
        return item

    done = []
    return function, done


@pytest.mark.parametrize("num_workers", [1, 3])
def test_a_failed_case_does_not_hold_up_the_others(num_workers):
    function, done = fail_at(2, InputError("Case c is damaged."))
    tasks = {"a": 0, "b": 1, "c": 2, "d": 3}
    results = dict(run_per_case(function, tasks, num_workers))
    assert results == {"a": 0, "b": 1, "c": Failed("c", "Case c is damaged."), "d": 3}
    assert list(results) == list(tasks) and sorted(done) == [0, 1, 3]


@pytest.mark.parametrize("error", [OSError("The disk is full."), ValueError("a defect")])
def test_any_other_error_ends_all_cases(error):
    function, done = fail_at(2, error)
    with pytest.raises(type(error), match=str(error)):
        list(run_per_case(function, {str(item): item for item in range(100)}, workers=1))
    assert len(done) < 5


def test_as_many_items_as_asked_for_are_read_ahead_in_order():
    read, third_read, others = [], threading.Event(), set(threading.enumerate())

    def items():
        for item in range(20):
            read.append(item)
            if item == 3:
                third_read.set()
            yield item

    ahead = read_ahead(items(), num_ahead=3)
    assert next(ahead) == 0
    assert third_read.wait(WAIT_S)  # Although only one item was asked for.
    assert [next(ahead), next(ahead)] == [1, 2]
    ahead.close()
    assert len(read) <= 6 and set(threading.enumerate()) <= others


def test_an_error_of_the_iterator_comes_after_the_items_before_it():
    read, _ = fail_at(2, OSError("The patch cannot be read."))
    ahead = read_ahead(map(read, range(4)))
    assert [next(ahead), next(ahead)] == [0, 1]
    with pytest.raises(OSError, match="cannot be read"):
        next(ahead)


def test_a_result_is_written_while_the_next_one_is_computed():
    computing = threading.Event()

    def results():
        yield 0
        computing.set()
        yield 1

    def write(result):
        assert computing.wait(WAIT_S)  # Before 0 is written, 1 is being computed.
        return 10 * result

    assert list(write_behind(results(), write)) == [0, 10]
    assert list(write_behind(iter(()), None)) == []


def test_results_before_an_error_are_written():
    results, _ = fail_at(1, ValueError("case 1 cannot be read"))
    written = []
    with pytest.raises(ValueError, match="case 1"):
        list(write_behind(map(results, range(4)), written.append))
    assert written == [0]


def test_after_an_error_in_writing_nothing_is_written():
    write, written = fail_at(1, OSError("The disk is full."))
    with pytest.raises(OSError, match="disk is full"):
        list(write_behind(iter(range(4)), write))
    assert written == [0]
