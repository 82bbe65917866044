"""Which devices are chosen, and how a batch is shared among them."""

import keras
import pytest

from brats.errors import InputError
from engine.devices.choose import check_batch_size, choose_devices
from engine.devices.one import ONE_DEVICE, OneDevice

BACKEND = keras.backend.backend()


class TwelveDevices(OneDevice):
    num_devices, num_hosts, host = 12, 3, 2


def test_the_hosts_share_a_batch_without_overlap_or_gap():
    devices = [TwelveDevices() for _ in range(3)]
    for host, each in enumerate(devices):
        each.host = host
    parts = [list(range(24))[each.share(24)] for each in devices]
    assert sum(parts, []) == list(range(24)) and len(set(map(len, parts))) == 1


def test_every_host_reads_all_of_a_batch_that_cannot_be_shared():
    assert list(range(7))[TwelveDevices().share(7)] == list(range(7))


@pytest.mark.parametrize(
    ("batch_size", "remedy"),
    [(4, "Make it 12,"), (13, "Make it 12 or 24,"), (31, "Make it 24 or 36,")],
)
def test_a_batch_that_does_not_divide_is_refused_with_the_nearest_sizes(batch_size, remedy):
    with pytest.raises(InputError, match=f"--batch-size is {batch_size}, .* {remedy}"):
        check_batch_size(batch_size, TwelveDevices())
    check_batch_size(24, TwelveDevices())
    check_batch_size(3, ONE_DEVICE)


def test_other_settings_of_a_host_are_reported_with_both_values(monkeypatch):
    devices = TwelveDevices()
    first = {"--seed": 1, "--loss": "a"}
    monkeypatch.setattr(devices, "first_text", lambda text: '{"--seed": 1, "--loss": "a"}', False)
    devices.check_same(first)
    with pytest.raises(InputError, match="Host 2: --seed is 2 here and 1 there. Start all"):
        devices.check_same(first | {"--seed": 2})
    monkeypatch.setattr(devices, "any_of", lambda value: True, False)
    with pytest.raises(InputError, match="Host 2: see the messages of the other hosts."):
        devices.check_same(first)


def test_one_device_is_the_default_on_a_host_that_has_one():
    for devices in (choose_devices(), choose_devices(1)):
        assert (devices.num_devices, devices.num_hosts, devices.is_first) == (1, 1, True)


def test_more_devices_than_there_are_are_refused():
    reason = "torch trains on one device" if BACKEND == "torch" else f"{BACKEND} sees "
    with pytest.raises(InputError, match=f"--devices is 99, but {reason}"):
        choose_devices(99)
