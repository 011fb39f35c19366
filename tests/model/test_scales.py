"""From arcsinh to −log10 p."""

import numpy as np
import pytest

from avocado.model.scales import imputed_pval, pval


def test_pval_by_hand():
    p = np.array([0, 0.5, 1, 10, 1000], dtype=np.float32)
    signal = np.concatenate([[-1.0], np.arcsinh(p)]).astype(np.float32)
    np.testing.assert_allclose(pval(signal), [0, *p], rtol=1e-5)
    raised = np.exp(np.array([0.25 / 1.05, 0.25 / 1.1, 0.25 / 2, 0.25 / 101]))
    np.testing.assert_allclose(imputed_pval(signal), [0, 0, *(p[1:] * raised)], rtol=1e-5)
    assert pval(signal).dtype == imputed_pval(signal).dtype == np.float32


def test_a_stronger_imputation_is_a_larger_p_value():
    signal = np.linspace(0, 9, 10_000)
    assert (np.diff(imputed_pval(signal)) > 0).all()
    assert (imputed_pval(signal) >= pval(signal)).all()


def test_a_mean_in_arcsinh_space_is_too_low_without_the_correction():
    means = np.repeat(np.linspace(0.2, 2, 50), 4000)
    observed = np.maximum(0, means + np.random.default_rng(0).normal(0, 0.6, len(means)))
    assert pval(means).mean() < 0.9 * pval(observed).mean()
    assert imputed_pval(means).mean() == pytest.approx(pval(observed).mean(), rel=0.05)
