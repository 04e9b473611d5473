import pytest

from schemas.config import Config
from worker.app.processes import process_names
from worker.cli.serve import NoSuchProcessError, ProcessSwitchedOffError, chosen_processes

TWO_GPUS = process_names(Config.model_validate({"inference": {"devices": ["cuda:0", "cuda:1"]}}))


def test_every_device_gets_a_process_of_its_own() -> None:
    assert TWO_GPUS == ("listen", "infer:cuda:0", "infer:cuda:1", "deliver", "schedule")


def test_without_a_name_every_process_runs() -> None:
    assert chosen_processes((), known=TWO_GPUS) == TWO_GPUS


def test_a_name_stands_for_its_process_on_each_device() -> None:
    assert chosen_processes(["infer"], known=TWO_GPUS) == ("infer:cuda:0", "infer:cuda:1")


def test_one_device_can_be_named() -> None:
    assert chosen_processes(["infer:cuda:1"], known=TWO_GPUS) == ("infer:cuda:1",)


def test_a_name_that_is_given_twice_runs_once() -> None:
    assert chosen_processes(["listen", "listen"], known=TWO_GPUS) == ("listen",)


def test_a_name_that_fits_no_process_is_an_error() -> None:
    with pytest.raises(NoSuchProcessError, match="Known: listen"):
        chosen_processes(["lissen"], known=TWO_GPUS)


def test_http_that_is_switched_off_says_so() -> None:
    with pytest.raises(ProcessSwitchedOffError, match=r"\[http\] enabled is false"):
        chosen_processes(["http"], known=TWO_GPUS)
