"""How the constancy phantom is known: by a Patient ID that no hospital gives."""

PHANTOM_PATIENT_ID = "BONEAGE-PHANTOM"
PHANTOM_PATIENT_NAME = "PHANTOM^BONEAGE"

#: The constancy check: who sends the phantom, and the destination that takes and forgets its
#: results. No [[peer]] may have one of these, so that no image of a patient ever goes there.
CONSTANCY_AE = "BONEAGE-CHECK"
CONSTANCY_PEER = "constancy"
#: Who sends it when `selftest --to` names a destination of its results.
SELFTEST_AE = "BONEAGE-SELFTEST"
#: Coding scheme of the code by which it says so: the AE title of that destination.
SELFTEST_SCHEME = "99BONEAGE"

_TASK = "phantom "


def task_of_device(device: str) -> str:
    """Return how reading the phantom on one device stands among the jobs that are done at times."""
    return f"{_TASK}{device}"


def device_of_task(task: str) -> str | None:
    """Return which device a job asks for the phantom; ``None``: it is another job."""
    return task.removeprefix(_TASK) if task.startswith(_TASK) else None
