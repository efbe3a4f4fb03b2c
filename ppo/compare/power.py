"""How large a difference a number of seeds can find, and how many seeds a difference needs: the power of Welch's test."""

import math

from scipy import optimize, stats

NAN = math.nan


def power(effect: float, std_a: float, std_b: float, n_a: int, n_b: int, *, alpha: float = 0.05) -> float:
    """Probability that Welch's two-sided test finds a true difference of ``effect`` (unit of the stds).

    t is noncentral with effect / se and Welch's degrees of freedom at the given deviations.
    """
    se, df = standard_error(std_a, std_b, n_a, n_b)
    return _found(abs(effect) / se, df, alpha) if se > 0 else NAN


def standard_error(std_a: float, std_b: float, n_a: int, n_b: int) -> tuple[float, float]:
    """(se, df) of a difference of means: se^2 = v_a + v_b, v = std^2 / n, and Welch and Satterthwaite's degrees of freedom,
    1 / (c^2 / (n_a - 1) + (1 - c)^2 / (n_b - 1)), c = v_a / se^2. NaN where there is no spread or only one seed."""
    se = math.hypot(std_a / math.sqrt(n_a), std_b / math.sqrt(n_b))
    if min(n_a, n_b) < 2 or not se > 0:
        return NAN, NAN
    c = (std_a / se) ** 2 / n_a
    return se, 1 / (c**2 / (n_a - 1) + (1 - c) ** 2 / (n_b - 1))


def _found(shift: float, df: float, alpha: float) -> float:
    """The power at a true difference of ``shift`` standard errors."""
    limit, shift = stats.t.ppf(1 - alpha / 2, df), min(shift, 35.0)  # beyond, the power is 1 to every digit
    # Found in the wrong direction: below 1e-9 from a shift of 6 on, where scipy's lower tail has no digits left.
    wrong = stats.nct.cdf(-limit, df, shift) if shift < 6 else 0.0
    right = stats.nct.sf(limit, df, shift)
    return float((1.0 if math.isnan(right) else right) + (0.0 if math.isnan(wrong) else wrong))


def detectable(std_a: float, std_b: float, n_a: int, n_b: int, *, alpha: float = 0.05, target: float = 0.8) -> float:
    """The minimum detectable effect: the true difference that is found with probability ``target`` (unit of the stds)."""
    se, df = standard_error(std_a, std_b, n_a, n_b)
    if not se > 0 or _found(34.0, df, alpha) < target:  # so few seeds that hardly anything would be found
        return NAN
    return se * float(optimize.brentq(lambda shift: _found(shift, df, alpha) - target, 0.0, 34.0))


def seeds_needed(
    effect: float, std_a: float, std_b: float, *, alpha: float = 0.05, target: float = 0.8, most: int = 100_000
) -> int | None:
    """Seeds in each arm with which a true difference of ``effect`` is found with probability ``target``.

    None where no spread is known, and where ``most`` seeds would not do (the effect is as good as zero).
    """
    if not math.hypot(std_a, std_b) > 0 or not abs(effect) > 0:
        return None
    low, high = 1, 2
    while power(effect, std_a, std_b, high, high, alpha=alpha) < target:
        low, high = high, 2 * high
        if high > most:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        enough = power(effect, std_a, std_b, middle, middle, alpha=alpha) >= target
        low, high = (low, middle) if enough else (middle, high)
    return high
