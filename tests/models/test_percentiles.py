import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from models.percentiles import percentile

Values = NDArray[np.floating]
SINGLE = arrays.arrays(np.float32, st.integers(1, 200), elements=st.floats(-1e6, 1e6, width=32))
DOUBLE = arrays.arrays(np.float64, st.integers(1, 200), elements=st.floats(-1e6, 1e6))


@given(values=st.one_of(SINGLE, DOUBLE), percent=st.floats(0, 100))
def test_a_percentile_is_numpys_to_the_last_bit(values: Values, percent: float) -> None:
    assert percentile(values, percent) == float(np.percentile(values, percent))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("percent", [0.0, 1.0, 2.0, 50.0, 98.0, 100.0])
def test_so_it_is_for_a_picture(dtype: type[np.floating], percent: float) -> None:
    picture: Values = np.random.default_rng(1).integers(0, 4096, (299, 297)).astype(dtype)[5:, 3:]

    assert percentile(picture, percent) == float(np.percentile(picture, percent))
