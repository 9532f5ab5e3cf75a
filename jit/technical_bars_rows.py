"""Rows of the bar-clock state of family `technical`. State `f` (F_ROWS, S) float64 and `q` (Q_ROWS, S) int64; a lane is a symbol, a row
is one quantity of all lanes, so that an operation is a loop over contiguous memory. A ring is a block of rows, one a bar: the bar of
call `pos` is row `pos & (length - 1)`, the same for all lanes."""

from itertools import accumulate

# The columns, in order.
(
    ROC_1, ROC_5, ROC_10, ROC_20, ROC_60, MACD, MACD_SIGNAL, MACD_HIST, RSI, BOLLINGER_B, BOLLINGER_WIDTH, ADX, DI_PLUS, DI_MINUS, STOCH_K,
    STOCH_D, CCI, MFI, OBV_SLOPE, AD_SLOPE, WILLIAMS, AROON, CMO, SLOPE, R2, PRICE_Z_20, PRICE_Z_60, PRICE_Z_240, RANGE_20, RANGE_60,
    RANGE_240, VWAP,
) = range(32)  # fmt: skip
COLUMNS = 32

_LENGTHS = (
    COLUMNS,  # values of this bar, before they are turned into rows of a matrix
    64, 64,  # closes, units, and 1 / close
    32,  # ln close
    32,  # typical prices times 3, units
    2, 2,  # highs, lows
    32, 32,  # volume signed by the change of the close (on-balance), by the place of the close in the bar (accumulation)
    2, 4, 32, 64,  # volume: sums of 1, 2, 4 and 20 bars
    2, 4, 32, 64,  # notional: the same
    2, 16, 16,  # money flow up: sums of 1, 2 and 4 bars
    2, 16, 16,  # money flow down: the same
    4, 4,  # stochastic: raw %K, slow %K
    1, 1, 1,  # MACD: fast and slow mean, signal
    1, 1,  # Wilder sums of gains and losses
    1, 1, 1, 1,  # Wilder sums of the true range, of the directional movement up and down, of DX
    1,  # sum of the last 20 typical prices
    1,  # scratch
)  # fmt: skip
(
    VALUES, CLOSES, INVERSE, LOGS, TYPICAL, HIGHS, LOWS, BALANCE, ACCUMULATION, VOLUME_1, VOLUME_2, VOLUME_4, VOLUME_20, NOTIONAL_1, NOTIONAL_2,
    NOTIONAL_4, NOTIONAL_20, UP_1, UP_2, UP_4, DOWN_1, DOWN_2, DOWN_4, RAW_K, SLOW_K, FAST, SLOW, SIGNAL, GAIN, LOSS, TRUE_RANGE, MOVE_UP,
    MOVE_DOWN, DX, TYPICAL_SUM, A, F_ROWS,
) = accumulate((0, *_LENGTHS))  # fmt: skip

SUMS, SQUARES, TOP, BOTTOM, Q_ROWS = range(0, 5 * 257, 257)  # prefix sums of the close and of its square, tables of the highest and the lowest

AGE_BITS = 28  # of a key of TOP and BOTTOM: price << AGE_BITS | time; prices are within 2**35 units of `base`
AGE = (1 << AGE_BITS) - 1
