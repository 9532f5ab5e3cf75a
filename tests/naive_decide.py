"""Slow twins of the decision kernels, from their definitions: whole histories instead of running sums, textbook formulas, plain Python."""

import math
from decimal import Decimal
from itertools import pairwise

import mpmath
import naive_corr
import naive_limits
import numpy as np

NAN = math.nan
YEAR_S = 252 * 6.5 * 3600
DAY_S = 6.5 * 3600
CAPS = ("GROSS_CAP", "NET_CAP", "SECTOR_CAP", "PARTICIPATION_CAP", "DRAWDOWN", "BELOW_MINIMUM")
NO_VARIANCE = 1e-12
FLAG_BITS = {"DELAYED": 8, "FROZEN": 16, "HALTED": 32, "UNCERTAIN": 128, "STALE": 256}  # of a quote that is not traded on


def rate_on(rates, as_of):
    """The last entry of a dated fee that had begun on that day."""
    begun = [r for r in rates if not as_of or r.since <= as_of]
    return (begun[-1].rate, begun[-1].most) if rates else (0.0, math.inf)


def commission(conf, quantity, price):
    """Each share pays the rate of the tier it falls in; then the minimum, then the cap."""
    edges = [(0.0, conf.per_share)] + [(t.above, t.per_share) for t in conf.tiers] + [(math.inf, 0.0)]
    fee = 0.0
    for (lower, rate), (upper, _) in pairwise(edges):
        fee += rate * max(0.0, min(conf.month_volume + quantity, upper) - max(conf.month_volume, lower))
    if fee < conf.minimum:
        fee = conf.minimum
    return conf.max_share * quantity * price * conf.multiplier if fee > conf.max_share * quantity * price * conf.multiplier else fee


def fee_terms(conf, quantity, price, side, adds):
    """Bill of an order by item."""
    value = quantity * price * conf.multiplier
    paid = commission(conf, quantity, price)
    taf, most = rate_on(conf.taf, conf.as_of)
    return {
        "commission": paid,
        "clearing": min(conf.clearing * quantity, conf.clearing_max_share * value),
        "exchange": (conf.add if adds else conf.remove) * quantity,
        "pass_through": conf.nyse_pass_through * paid + conf.finra_pass_through * paid,
        "regulatory": rate_on(conf.regulatory, conf.as_of)[0] * quantity,
        "taf": min(taf * quantity, most) if side < 0 else 0.0,
        "sec": rate_on(conf.sec, conf.as_of)[0] * value if side < 0 else 0.0,
    }


def impact(quantity, adv, sigma_day, eta):
    return eta * sigma_day * (quantity / adv) ** 0.5


def one_way(conf, bid, ask, quantity, side):
    mid = (bid + ask) / 2
    paid = sum(fee_terms(conf, quantity, mid, side, False).values())
    return 1e4 * ((ask - bid) / 2 * conf.effective / mid + paid / (quantity * mid * conf.multiplier))


def barrier(drift, variance, up, down):
    """Reference form of Karlin and Taylor: (1 - e^{2 mu d / s2}) / (e^{-2 mu u / s2} - e^{2 mu d / s2})."""
    if drift == 0:
        return down / (up + down)
    k, up, down = 2 * Decimal(drift) / Decimal(variance), Decimal(up), Decimal(down)  # the exponents reach thousands
    return float((1 - (k * down).exp()) / ((-k * up).exp() - (k * down).exp()))


def barrier_within(drift, variance, up, down, time):
    """Sine series of the first-exit density at the upper barrier (Borodin and Salminen), integrated from `time` on and taken from the
    probability without a time limit."""
    with mpmath.workdps(60):
        mu, s2, u, d, t = (mpmath.mpf(float(v)) for v in (drift, variance, up, down, time))
        width = u + d
        k = 2 * mu / s2
        whole = d / width if abs(k) * width < 1e-40 else (1 - mpmath.exp(-k * d)) / (1 - mpmath.exp(-k * width))
        rest = mpmath.mpf(0)
        for j in range(1, 2000):
            decay = mu**2 / (2 * s2) + j**2 * mpmath.pi**2 * s2 / (2 * width**2)
            weight = mpmath.exp(mu * u / s2 - decay * t) * j * s2 * mpmath.pi / width**2 / decay
            rest += (-1) ** (j + 1) * mpmath.sin(j * mpmath.pi * d / width) * weight
            if weight < 1e-30:
                break
        return float(whole - rest)


def barrier_value(drift, up, down):
    """Mean of the path where it ends, unit variance and time: of a path without a time limit, less drift x the mean time from 1 on that
    the eigenfunctions of the strip give for the paths still inside."""
    with mpmath.workdps(60):
        m, u, d = (mpmath.mpf(float(v)) for v in (drift, up, down))
        width = u + d
        if abs(m) < 1e-40:
            return 0.0
        p = (1 - mpmath.exp(-2 * m * d)) / (1 - mpmath.exp(-2 * m * width))
        later = mpmath.mpf(0)
        for j in range(1, 2000):
            wave = j * mpmath.pi / width
            decay = (m**2 + wave**2) / 2
            weight = wave / (width * decay**2) * mpmath.exp(-decay)
            ends = mpmath.exp(-m * d) - (-1) ** j * mpmath.exp(m * u)
            later += weight * mpmath.sin(wave * d) * ends
            if weight * abs(ends) < 1e-30:
                break
        return float(u * p - d * (1 - p) - m * later)


def round_trip(conf, bid, ask, quantity):
    """In and out again at one quote, bp of the mid."""
    return one_way(conf, bid, ask, quantity, 1) + one_way(conf, bid, ask, quantity, -1)


def shrunk_ic(ic, observations):
    if observations <= 0 or ic <= 0:
        return 0.0
    se2 = (1 - ic**2) / observations
    return ic * ic**2 / (ic**2 + se2)


def pooled_ic(ic, observations, prior, strength):
    if math.isnan(prior):
        return shrunk_ic(ic, observations)
    total = observations + strength
    return shrunk_ic((observations * ic + strength * prior) / total, total) if total > 0 else 0.0


def centred(values, weights):
    """Deviations from the weighted mean. Relative to the last value first: after a long gap it has nearly all the weight."""
    v, w = np.array(values) - values[-1], np.array(weights)
    return v - (v * w).sum() / w.sum()


def variance(values, weights):
    return (np.array(weights) * centred(values, weights) ** 2).sum() / np.sum(weights)


class Symbol:
    """History of one symbol for the naive ensemble."""

    def __init__(self, n_horizons):
        self.mids = []  # (ts, mid), two-sided quotes only
        self.rows = []  # (ts, predictions)
        self.pending = [[] for _ in range(n_horizons)]  # (due, mid, z)
        self.outcomes = [[] for _ in range(n_horizons)]  # (due, y)
        self.entered = [None] * n_horizons
        self.refreshed = None


class Group:
    """What symbols share that are pooled."""

    def __init__(self, n_horizons):
        self.settled = [[] for _ in range(n_horizons)]  # (time, y, z, independent share)
        self.observed = [[] for _ in range(n_horizons)]  # (ts, z, independent share)


def ensemble(conf, horizons_ns, prior, n_symbols, ticks, predictions):
    """Forecasts (alpha, sigma, ic) of each prediction, and the number of dropped outcomes.

    ticks : list of (ts, symbol, is_quote, bid, ask, row of predictions or None); predictions : (n, n_models)
    """
    n_horizons, n_configurations = len(horizons_ns), len(prior)
    symbols = [Symbol(n_horizons) for _ in range(n_symbols)]
    groups = [Group(n_horizons)] * n_symbols if conf.pooled else [Group(n_horizons) for _ in range(n_symbols)]
    tau, ic_tau = conf.moments_tau_s * 1e9, conf.ic_tau_s * 1e9
    forecasts, dropped = [], 0
    for ts, symbol, is_quote, bid, ask, row, *_ in ticks:
        s, group = symbols[symbol], groups[symbol]
        for h in range(n_horizons):
            for due, mid, z in [e for e in s.pending[h] if e[0] < ts]:
                in_force = [m for t, m in s.mids if t <= due][-1]
                settle(conf, s, group, h, due, 1e4 * (in_force / mid - 1), z, horizons_ns[h])
            s.pending[h] = [e for e in s.pending[h] if e[0] >= ts]
        if is_quote and not math.isnan(bid + ask):
            s.mids.append((ts, (bid + ask) / 2))
        if row is None:
            continue
        z = [standard(conf, s.rows, k, ts, float(p), tau) for k, p in enumerate(predictions[row])]
        s.rows.append((ts, [float(p) for p in predictions[row]]))
        # an interval of symbol k of n begins k / n of its length before those of symbol 0
        turn = (ts + conf.refresh_ns * symbol // n_symbols) // conf.refresh_ns if conf.refresh_ns else None
        if s.refreshed is None or turn is None or turn != s.refreshed:
            s.refreshed = turn
            for h in range(n_horizons):
                observe(conf, group.observed[h], ts, z[h::n_horizons], horizons_ns[h])
            ics = [[tracked(conf, group.settled[h], c, ts, ic_tau, prior[c][h], horizons_ns[h]) for c in range(n_configurations)] for h in range(n_horizons)]
            s.weights = [solved(conf, group.observed[h], ts, ics[h]) for h in range(n_horizons)]
            s.gains = [np.array(ics[h]) * s.weights[h] for h in range(n_horizons)]
            s.sigmas = [volatility(conf, s.outcomes[h], ts, ic_tau) for h in range(n_horizons)]
        out = []
        for h in range(n_horizons):
            zs = z[h::n_horizons]
            known = [c for c in range(n_configurations) if not math.isnan(zs[c])]
            if known:
                alpha = s.sigmas[h] * sum(s.weights[h][c] * zs[c] for c in known)
                ic = math.sqrt(min(1.0, max(0.0, sum(s.gains[h][c] for c in known))))
            else:
                ic = alpha = NAN
            out.append((alpha, s.sigmas[h], ic))
            if known and s.mids and (s.entered[h] is None or ts - s.entered[h] >= conf.settle_every_ns):
                if len(s.pending[h]) == min(conf.max_pending, horizons_ns[h] // conf.settle_every_ns + 2):
                    s.pending[h].pop(0)
                    dropped += 1
                s.pending[h].append((ts + horizons_ns[h], s.mids[-1][1], zs))
                s.entered[h] = ts
        forecasts.append(out)
    return np.array(forecasts).reshape(-1, n_horizons, 3), dropped


def settle(conf, s, group, h, due, y, z, horizon):
    """An outcome joins the history of its symbol and, if pooled in units of what was usual for the symbol before, that of its group."""
    usual = volatility(conf, s.outcomes[h], due, conf.ic_tau_s * 1e9) if conf.pooled else 1.0
    s.outcomes[h].append((due, y))
    if usual > math.sqrt(NO_VARIANCE):
        last = group.settled[h][-1][0] if group.settled[h] else None
        share = 1.0 if last is None else min(1.0, max(due - last, 0) / horizon)
        group.settled[h].append((due if last is None else max(due, last), y / usual, z, share))


def observe(conf, observed, ts, z, horizon):
    """Predictions of a refresh; the first ones that are there, or in the window, count whole."""
    first = all(math.isnan(v) for _, past, _ in observed[-conf.window_rows :] for v in past)
    observed.append((ts, z, 1.0 if first else min(1.0, (ts - observed[-1][0]) / horizon)))


def solved(conf, observed, ts, ic):
    """Decorrelated weights; the variance of the score is the larger one of observed and cleaned correlation, its IC at most 1."""
    if conf.window_rows:
        rows = [(z, share) for _, z, share in observed[-conf.window_rows :] if not all(math.isnan(v) for v in z)]
        c, t_eff, rho = np.eye(len(ic)), sum(share for _, share in rows), 0.0
        if rows:
            x, c = naive_corr.of_window(np.array([z for z, _ in rows], float))
            rho = naive_corr.ledoit_wolf(x, t_eff)[1] if conf.shrinkage == "ledoit_wolf" else 0.0
    else:
        decayed = [(math.exp(-(ts - t) / (conf.correlation_tau_s * 1e9)), z, share) for t, z, share in observed]
        seen = [(g, share) for g, z, share in decayed if not all(math.isnan(v) for v in z)]
        share = sum(g * s for g, s in seen) / sum(g for g, _ in seen) if seen else 1.0
        c, t_eff = naive_corr.moments([(g, z) for g, z, _ in decayed], share)
        rho = 0.0
    if conf.shrinkage == "oas":
        rho = naive_corr.oas(c, t_eff)
    there = ~np.isnan(observed[-1][1])
    if there.any():  # without those that are missing now
        c, ic = np.where(there[:, None] & there, c, np.eye(len(ic))), np.where(there, ic, 0.0)
    w, strength = naive_corr.weights(c, rho, naive_corr.edge(len(ic), t_eff), ic, conf.equal_share, conf.positive)
    if w @ c @ w > strength:
        w = w * strength / (w @ c @ w)
    return w / max(1.0, w @ ic)


def standard(conf, rows, k, ts, p, tau):
    """z of prediction p against the model's earlier ones."""
    past = [(math.exp(-(ts - t) / tau), y[k]) for t, y in rows if math.isfinite(y[k])]
    if not math.isfinite(p) or sum(w for w, _ in past) < conf.min_rows or not past:
        return NAN
    w, v = [w for w, _ in past], [v for _, v in past]
    if variance(v, w) <= NO_VARIANCE:
        return NAN
    mean = v[-1] - centred(v, w)[-1]
    return max(-conf.clip, min(conf.clip, (p - mean) / math.sqrt(variance(v, w))))


def tracked(conf, settled, c, ts, tau, prior, horizon):
    """Shrunk IC of configuration c from its outcomes and its prior."""
    seen = [(math.exp(-(ts - due) / tau), z[c], y, share) for due, y, z, share in settled if not math.isnan(z[c])]
    ic = observations = 0.0
    w, z, y, share = (np.array(v) for v in zip(*seen)) if seen else [np.zeros(0)] * 4
    if seen and w.sum() >= conf.min_outcomes and variance(z, w) > NO_VARIANCE and variance(y, w) > NO_VARIANCE:
        ic = (w * centred(z, w) * centred(y, w)).sum() / w.sum() / math.sqrt(variance(z, w) * variance(y, w))
        observations = (w * share).sum()
    return pooled_ic(ic, observations, prior, conf.prior_s * 1e9 / horizon)


def volatility(conf, outcomes, ts, tau):
    """Root mean square outcome."""
    w = np.array([math.exp(-(ts - due) / tau) for due, _ in outcomes])
    if w.sum() < conf.min_outcomes or not len(w):
        return NAN
    return math.sqrt((w * np.array([y for _, y in outcomes]) ** 2).sum() / w.sum())


def target(risk, edge, sigma, seconds):
    """Fraction of nav: the least of three sizes."""
    mean, deviation = abs(edge) / 1e4, sigma / 1e4
    kelly = math.inf if math.isinf(risk.kelly) else risk.kelly * mean / deviation**2
    return min(kelly, risk.vol_target / (deviation * math.sqrt(YEAR_S / seconds)), risk.name_cap)


def throttle(risk, gains):
    """Share of the size that is left after this history of gains on nav."""
    equity = [risk.nav + g for g in [0.0, *gains]]
    drawdown = 1 - equity[-1] / max(equity)
    if drawdown <= risk.throttle_from:
        return 1.0
    return max(0.0, (risk.throttle_to - drawdown) / (risk.throttle_to - risk.throttle_from)) if drawdown < risk.throttle_to else 0.0


def limit(bid, ask, side, offset, tick):
    """Price in exact decimals: beyond the touch by `offset` ticks."""
    touch, tick = Decimal(repr(ask if side > 0 else bid)), Decimal(repr(tick))
    return float(touch + side * offset * tick)


def act(risk, costs, orders, horizons_ns, tick, n_symbols, ticks, forecasts, sector=None, names=None):
    """Decisions and orders with simulated fills.

    ticks : list of (ts, symbol, is_quote, bid, ask, row of forecasts or None[, flags]); forecasts : (n, n_horizons, 3)

    Returns decisions [(edge, cost, horizon, p_up, p_down, target, reason, value)], orders [(ts, symbol, key, side, quantity, limit, state)],
    fills [(ts, symbol, key, side, quantity, price, commission)]; reasons and states by name.
    """
    seconds = [h / 1e9 for h in horizons_ns]
    quote = [(NAN, NAN)] * n_symbols
    mark, position, hold = [0.0] * n_symbols, [0.0] * n_symbols, [0] * n_symbols
    working = [None] * n_symbols
    flags = [set()] * n_symbols
    decisions, life, fills, key, gains = [], [], [], 0, []
    sector = sector or [None] * n_symbols
    limits = naive_limits.Limits(risk.limits, names or [""] * n_symbols)

    def gain_now():
        spent = sum(side * quantity * price + paid for _, _, _, side, quantity, price, paid in fills)
        return sum(p * m for p, m in zip(position, mark)) - spent

    def say(ts, symbol, state):
        o = working[symbol]
        life.append((ts, symbol, o["key"], o["side"], o["quantity"], o["limit"], state))

    for ts, symbol, is_quote, bid, ask, row, *given in ticks:
        limits.tick(ts, symbol, is_quote, bid, gain_now())
        if is_quote:
            quote[symbol] = (bid, ask)
            flags[symbol] = {name for name, bit in FLAG_BITS.items() if given and given[0] & bit}
            good = bid <= ask
            if good:
                mark[symbol] = (bid + ask) / 2
            o = working[symbol]
            if o and o["cancelling"]:
                say(ts, symbol, "CANCELLED")
                working[symbol] = None
            elif o and good and ((o["side"] > 0 and o["limit"] >= ask) or (o["side"] < 0 and o["limit"] <= bid)):
                price = ask if o["side"] > 0 else bid
                say(ts, symbol, "FILLED")
                fills.append((ts, symbol, o["key"], o["side"], o["quantity"], price, sum(fee_terms(costs, o["quantity"], price, o["side"], False).values())))
                position[symbol] += o["side"] * o["quantity"]
                hold[symbol] = o["hold"]
                working[symbol] = None
        if row is None:
            continue
        bid, ask = quote[symbol]
        o, p0 = working[symbol], position[symbol]
        gains.append(gain_now())
        stopped = limits.stopped(gains[-1])
        share = throttle(risk, gains)
        most = risk.participation * costs.adv if costs.adv > 0 else math.inf
        choice = None
        known = [h for h, (a, s, _) in enumerate(forecasts[row]) if not math.isnan(a) and s > 0]
        if bid <= ask and known:
            drift = {h: forecasts[row][h][0] / seconds[h] for h in known}
            precision = {h: (forecasts[row][h][2] * seconds[h] / forecasts[row][h][1]) ** 2 for h in known}
            total = sum(precision.values())
            pool = sum(precision[h] * drift[h] for h in known) / total if total > 0 else 0.0
            judged = []
            for h in known:
                sigma = forecasts[row][h][1]
                edge = seconds[h] * ((1 - risk.pool_share) * drift[h] + risk.pool_share * pool)
                shares = min(share * target(risk, edge, sigma, seconds[h]) * risk.nav / mark[symbol], most)
                size = risk.lot * math.floor(shares / risk.lot)
                q = max(size, risk.lot)
                cost = round_trip(costs, bid, ask, q)
                if costs.impact_eta:
                    cost += 2 * impact(q, costs.adv, sigma * math.sqrt(DAY_S / seconds[h]), costs.impact_eta)
                judged.append(((abs(edge) - cost) / sigma, -h, edge, cost, size, sigma))
            _, h, edge, cost, size, sigma = max(judged)
            choice = -h
        if choice is None:
            numbers, worth = (NAN, NAN, -1, NAN, NAN), NAN
        else:
            profit, stop = risk.profit_barrier * sigma, risk.stop_barrier * sigma
            upper, lower = (profit, stop) if edge >= 0 else (stop, profit)
            both = (barrier_within(edge, sigma**2, upper, lower, 1), barrier_within(-edge, sigma**2, lower, upper, 1))
            numbers, worth = (edge, cost, choice, *both), sigma * barrier_value(edge / sigma, upper / sigma, lower / sigma)
        goal, reason = p0, None
        opening = o and not (o["side"] * p0 < 0 and o["quantity"] <= abs(p0))
        if o and not o["cancelling"] and (ts - o["since"] > orders.ttl_s * 1e9 or (stopped and opening)):
            reason = "CANCEL"
            o["cancelling"] = True
            say(ts, symbol, "CANCEL_INTENT")
        elif "HALTED" in flags[symbol]:
            reason = "HALTED"
        elif flags[symbol] - ({"DELAYED"} if risk.allow_delayed else set()):
            reason = "NOT_LIVE"
        elif math.isnan(bid) or math.isnan(ask):
            reason = "NO_QUOTE"
        elif bid > ask:
            reason = "CROSSED"
        elif o:
            reason = "ORDER_WORKING"
        elif choice is None:
            reason = "WARMING_UP"
        elif share <= 0:
            reason = "DRAWDOWN"
        elif most < risk.lot:
            reason = "PARTICIPATION_CAP"
        elif abs(worth) - cost <= risk.hurdle * cost:
            reason = "EDGE_BELOW_COST"
        else:
            sign = 1 if edge > 0 else -1
            if p0 * sign > 0:
                hold[symbol] = max(hold[symbol], ts + horizons_ns[choice])
            used = {"GROSS_CAP": 0.0, "NET_CAP": 0.0, "SECTOR_CAP": 0.0}
            for i in range(n_symbols):
                if i != symbol:
                    ends = [position[i], position[i] + (working[i]["side"] * working[i]["quantity"] if working[i] else 0)]
                    value = max(abs(e) for e in ends) * mark[i]
                    used["GROSS_CAP"] += value
                    used["NET_CAP"] += max(sign * e for e in ends) * mark[i]
                    if sector[i] is not None and sector[i] == sector[symbol]:
                        used["SECTOR_CAP"] += value
            caps = {"GROSS_CAP": risk.gross_cap, "NET_CAP": risk.net_cap, "SECTOR_CAP": math.inf if sector[symbol] is None else risk.sector_cap}
            rooms = {name: caps[name] * risk.nav - used[name] for name in caps}
            cap = min(rooms, key=rooms.get)
            allowed = min(size, risk.lot * math.floor(max(rooms[cap], 0.0) / mark[symbol] / risk.lot))
            if size < risk.lot:
                reason = "NAME_CAP"
            elif p0 * sign > 0 and abs(size - abs(p0)) <= risk.resize_band * size:
                reason = "AT_TARGET"
            elif allowed < risk.lot or (allowed < size and p0 * sign > 0 and allowed - abs(p0) <= risk.resize_band * allowed):
                reason = cap
            elif abs(sign * allowed - p0) * mark[symbol] < risk.least_value:
                reason = "BELOW_MINIMUM"
            else:
                reason, goal = "ORDER", sign * allowed
        if reason in ("WARMING_UP", "EDGE_BELOW_COST", "NAME_CAP", "AT_TARGET", *CAPS) and p0 != 0 and ts >= hold[symbol]:
            reason, goal = "HORIZON_OVER", 0.0
        if goal != p0:
            side = 1 if goal > p0 else -1
            reach = [[(p, p * m)] + ([(q := p + w["side"] * w["quantity"], q * m)] if w else []) for p, m, w in zip(position, mark, working)]
            price = limit(bid, ask, side, orders.limit_offset_ticks, tick)
            refused = limits.refuse(ts, symbol, side, abs(goal - p0), price, reach, bid, ask, stopped)
            if refused and goal * p0 < 0:
                reason, goal = "NOT_TURNED", 0.0
                refused = limits.refuse(ts, symbol, side, abs(p0), price, reach, bid, ask, stopped)
            if refused:
                reason, goal = refused, p0
        if goal != p0:
            key += 1
            working[symbol] = {
                "key": key, "side": side, "quantity": abs(goal - p0), "limit": price,
                "since": ts, "hold": ts + (horizons_ns[choice] if reason == "ORDER" else 0), "cancelling": False,
            }  # fmt: skip
            say(ts, symbol, "INTENT")
        decisions.append((*numbers, goal, reason, worth))
    return decisions, life, fills
