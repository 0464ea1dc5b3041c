import numpy as np
import pytest

from diffst.wan.training.kernels import Blur, Shape, kernel


@pytest.mark.parametrize("shape", ["gaussian", "generalised", "plateau"])
def test_a_round_blur_is_the_same_when_turned_and_sums_to_one(shape: Shape):
    made = kernel(Blur(shape=shape, size=9, sigmas=(1.5, 1.5), beta=1.7))
    np.testing.assert_allclose(made, np.rot90(made), atol=1e-7)
    assert made.sum() == pytest.approx(1, abs=1e-6)
    assert made[4, 4] == made.max()


def test_gaussian_is_the_product_of_two_lines():
    made = kernel(Blur(shape="gaussian", size=21, sigmas=(2.0, 1.0)))
    place = np.arange(-10, 11)
    line = [np.exp(-0.5 * (place / sigma) ** 2) for sigma in (2.0, 1.0)]
    expected = np.outer(line[1], line[0])
    np.testing.assert_allclose(made, expected / expected.sum(), atol=1e-7)


def test_a_quarter_turn_exchanges_the_axes():
    flat = kernel(Blur(shape="plateau", size=11, sigmas=(3.0, 1.0), beta=2.0))
    turned = kernel(Blur(shape="plateau", size=11, sigmas=(3.0, 1.0), beta=2.0, angle=np.pi / 2))
    np.testing.assert_allclose(turned, flat.T, atol=1e-6)


def test_generalised_with_exponent_one_is_gaussian():
    gaussian = kernel(Blur(shape="gaussian", size=7, sigmas=(1.2, 0.7), angle=0.3))
    general = kernel(Blur(shape="generalised", size=7, sigmas=(1.2, 0.7), angle=0.3, beta=1.0))
    np.testing.assert_array_equal(general, gaussian)


def test_sinc_keeps_what_is_below_its_cutoff_and_stops_what_is_above():
    made = kernel(Blur(shape="sinc", size=61, cutoff=np.pi / 2))
    response = np.abs(np.fft.fft(made.sum(axis=0), 64))  # along x
    frequency = 2 * np.pi * np.arange(64) / 64
    assert response[frequency < np.pi / 3].min() > 0.9
    assert response[(frequency > 2 * np.pi / 3) & (frequency < np.pi)].max() < 0.1
