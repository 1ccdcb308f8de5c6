"""Formulas that nobody here invented, for comparison only; each names its source in tests/data/statistics.json."""

import math

import numpy as np
from scipy import optimize, special, stats


def best_rho(v_opt, alpha):
    return v_opt / (2 * math.log(1 / alpha) + math.log(1 + 2 * math.log(1 / alpha)))


def normal_mixture(s, v, v_opt, alpha, *, two_sided):
    """Return (log of the mixture at (s, v), the s at which it reaches ln(1/alpha))."""
    if two_sided:
        rho = best_rho(v_opt, alpha)
        log_mixture = 0.5 * math.log(rho / (v + rho)) + s * s / (2 * (v + rho))
        return log_mixture, math.sqrt((v + rho) * (math.log((v + rho) / rho) + 2 * math.log(1 / alpha)))
    rho = best_rho(v_opt, 2 * alpha)

    def log_at(x):
        tail = special.log_ndtr(x / math.sqrt(v + rho))
        return 0.5 * math.log(4 * rho / (v + rho)) + x * x / (2 * (v + rho)) + tail

    return log_at(s), optimize.brentq(lambda x: log_at(x) - math.log(1 / alpha), 0, 1e3, xtol=1e-12)


def poly_stitching_bound(v, alpha, v_min, c):
    """Polynomial stitching with s = 1.4 and eta = 2 (Howard and others 2021, theorem 1)."""
    s, eta = 1.4, 2.0
    k1 = (eta**0.25 + eta**-0.25) / math.sqrt(2)
    k2 = (math.sqrt(eta) + 1) / 2
    use = max(v, v_min)
    ell = s * math.log(math.log(eta * use / v_min)) + math.log(special.zeta(s) / (alpha * math.log(eta) ** s))
    term = k2 * c * ell
    return math.sqrt(k1**2 * use * ell + term**2) + term


def _log_beta_part(a, b, x):
    return math.log(special.betainc(a, b, x)) + special.betaln(a, b)


def beta_binomial_mixture(s, v, v_opt, g, h, alpha, *, two_sided):
    """Return (log of the mixture at (s, v), the s at which it reaches ln(1/alpha)); increments lie in [-g, h]."""
    r = best_rho(v_opt, alpha if two_sided else 2 * alpha) - g * h
    x = h / (g + h)

    def log_beta(a, b):
        return special.betaln(a, b) if two_sided else _log_beta_part(a, b, x)

    start = log_beta(r / (g * (g + h)), r / (h * (g + h)))

    def log_at(value):
        a = (r + v - g * value) / (g * (g + h))
        b = (r + v + h * value) / (h * (g + h))
        return (
            v / (g * h) * math.log(g + h)
            - (v + h * value) / (h * (g + h)) * math.log(g)
            - (v - g * value) / (g * (g + h)) * math.log(h)
            + log_beta(a, b)
            - start
        )

    top = (r + v) / g - 1e-9
    return log_at(s), optimize.brentq(lambda value: log_at(value) - math.log(1 / alpha), 0, top, xtol=1e-12)


def bernoulli_confidence_interval(successes, trials, alpha, t_opt):
    """Invert the two-sided beta-binomial mixture at every mean: the confseq interval of a coin."""
    estimate = successes / trials

    def excess(mean):
        g, h = mean, 1 - mean
        r = best_rho(t_opt * g * h, alpha) - g * h
        v, value = trials * g * h, successes - trials * mean
        a = (r + v - g * value) / (g * (g + h))
        b = (r + v + h * value) / (h * (g + h))
        log_e = (
            v / (g * h) * math.log(g + h)
            - (v + h * value) / (h * (g + h)) * math.log(g)
            - (v - g * value) / (g * (g + h)) * math.log(h)
            + special.betaln(a, b)
            - special.betaln(r / (g * (g + h)), r / (h * (g + h)))
        )
        return log_e - math.log(1 / alpha)

    lower = optimize.brentq(excess, 1e-9, estimate, xtol=1e-12)
    upper = optimize.brentq(excess, estimate, 1 - 1e-9, xtol=1e-12)
    return lower, upper


def beta_binomial_e(events, trials, p0, prior):
    a, b = prior
    log_e = (
        special.betaln(a + events, b + trials - events)
        - special.betaln(a, b)
        - events * math.log(p0)
        - (trials - events) * math.log1p(-p0)
    )
    return math.exp(log_e)


def asymptotic_cs_uplift(control, treatment, alpha, n_star):
    """Return (uplift, standard error, lower, upper) of p_T / p_C - 1."""
    p_c, p_t = control["events"] / control["trials"], treatment["events"] / treatment["trials"]
    n_c, n_t = control["trials"], treatment["trials"]
    var_c, var_t = p_c * (1 - p_c), p_t * (1 - p_t)
    v = var_t / (n_t * p_c**2) + p_t**2 * var_c / (n_c * p_c**4)
    total = n_c + n_t
    rho2 = (-2 * math.log(alpha) + math.log(1 - 2 * math.log(alpha))) / n_star
    scale = 2 * (total * rho2 + 1) / (total**2 * rho2) * math.log(math.sqrt(total * rho2 + 1) / alpha)
    half = math.sqrt(v * total) * math.sqrt(scale)
    uplift = p_t / p_c - 1
    return uplift, math.sqrt(v), uplift - half, uplift + half


def sprt_bounds(alpha, beta):
    return math.log(beta / (1 - alpha)), math.log((1 - beta) / alpha)


def sprt_lines(p0, p1, alpha, beta):
    g = math.log(p1 * (1 - p0) / (p0 * (1 - p1)))
    lower, upper = sprt_bounds(alpha, beta)
    return lower / g, upper / g, math.log((1 - p0) / (1 - p1)) / g


def srm_chi_square(counts, shares):
    total = sum(counts)
    return float(stats.chisquare(counts, [total * share for share in shares]).pvalue)


def peeking_false_alarm(z, looks, rollouts, generator):
    """Return the share of null rollouts in which |Z| exceeds z at one of the looks, and its standard error."""
    walk = np.cumsum(generator.standard_normal((rollouts, looks)), axis=1)
    peak = np.abs(walk / np.sqrt(np.arange(1, looks + 1))).max(axis=1)
    share = float((peak > z).mean())
    return share, math.sqrt(max(share * (1 - share), 1e-9) / rollouts)


def lan_demets_bounds(alpha_one_sided, information):
    """Return the z bounds of the O'Brien-Fleming-like spending function.

    The density of the score over the paths that go on is integrated by Gauss-Legendre from look to look (Armitage,
    McPherson and Rowe 1969).
    """
    level = stats.norm.ppf(1 - alpha_one_sided / 2)
    spent = [2 * stats.norm.sf(level / math.sqrt(t)) for t in information]
    nodes, weights = np.polynomial.legendre.leggauss(400)
    points, mass = np.zeros(1), np.ones(1)  # before the first look all paths are at 0
    bounds, previous_t, previous_spent = [], 0.0, 0.0
    for t, total in zip(information, spent, strict=True):
        sd = math.sqrt(t - previous_t)
        bound = _crossing(points, mass, sd, total - previous_spent)
        bounds.append(bound / math.sqrt(t))
        low = -10.0
        following = (bound - low) / 2 * nodes + (bound + low) / 2
        density = stats.norm.pdf((following[:, None] - points) / sd) / sd @ mass
        points, mass = following, density * weights * (bound - low) / 2
        previous_t, previous_spent = t, total
    return bounds


def _crossing(points, mass, sd, due):
    """Return the score that a next step from `points` goes beyond with probability `due`."""
    return optimize.brentq(lambda b: float(mass @ stats.norm.sf((b - points) / sd)) - due, -10, 10, xtol=1e-12)
