import numpy as np

from models.phantom import digest_of_pixels, draw_phantom, is_phantom
from schemas.images import Sex

#: of the drawing that releases are pinned to; a change here changes every constancy check
PINNED = "8f6b714b6b6597e8f891e1c290a4668a19ced270942b64b081bed67f94e5b5d8"


def test_the_same_age_and_sex_give_the_same_bytes() -> None:
    first = draw_phantom(age_months=120, sex=Sex.FEMALE)
    second = draw_phantom(age_months=120, sex=Sex.FEMALE)

    assert (first == second).all()
    assert first.dtype == np.uint16
    assert first.max() < 4096


def test_the_drawing_is_the_one_that_releases_are_pinned_to() -> None:
    assert digest_of_pixels(draw_phantom(age_months=120, sex=Sex.FEMALE)) == PINNED


def test_the_digest_is_of_values_and_not_of_types() -> None:
    drawn = draw_phantom(age_months=120, sex=Sex.FEMALE)

    assert is_phantom(drawn.astype(np.float32), digest=digest_of_pixels(drawn))


def test_one_changed_pixel_is_another_image() -> None:
    drawn = draw_phantom(age_months=120, sex=Sex.FEMALE)
    changed = drawn.copy()
    changed[700, 500] += 1

    assert not is_phantom(changed, digest=digest_of_pixels(drawn))


def test_an_older_phantom_has_more_bone() -> None:
    young = draw_phantom(age_months=30, sex=Sex.MALE)
    old = draw_phantom(age_months=200, sex=Sex.MALE)

    assert np.count_nonzero(old > 2000) > 1.5 * np.count_nonzero(young > 2000)


def test_girls_are_ahead_of_boys_of_the_same_age() -> None:
    girl = draw_phantom(age_months=48, sex=Sex.FEMALE)
    boy = draw_phantom(age_months=48, sex=Sex.MALE)

    assert np.count_nonzero(girl > 2000) > np.count_nonzero(boy > 2000)
