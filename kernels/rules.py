"""What happens to one pixel: scalar rules for engines to compile and loop over. No imports, no loops.

The rules name no floating constant where the result must have float32 bits: a literal is a float64, and
would carry the whole expression there.
"""

_MASK = 0xFFFFFFFF

Rank = tuple[float, int]
Ranks = tuple[Rank, Rank, Rank, Rank]


def ascended(value: float, slope: float, step: float) -> float:
    """`value` moved by `step` in the direction of `slope`'s sign; not at all for zero and NaN."""
    if slope > 0:
        return value + step
    if slope < 0:
        return value - step
    return value


def clipped(value: float, low: float, high: float) -> float:
    """`value` cut to low..high; NaN stays NaN."""
    if value < low:
        return low
    if value > high:
        return high
    return value


def can_ascend(value: float, slope: float, low: float, high: float) -> bool:
    """Whether `value` can follow `slope` without leaving the box low..high at once."""
    return (slope > 0 and value < high) or (slope < 0 and value > low)


def room_for(change: float, x: float, low: float, high: float) -> float:
    """The distance from `x` to the edge of the box that `change` leads to."""
    if change > 0:
        return high - x
    return x - low


def shrunk(length: float, lam: float, room: float) -> float:
    """A change's length after soft thresholding by `lam`, but no longer than `room`."""
    return min(max(length - lam, 0.0), room)


def added_inwards(x: float, change: float, ulp: float) -> float:
    """`x` + `change`, rounded so that it is no farther from `x` than `change` says; `ulp`: a number's last place.

    Rounded to nearest, 150,528 pixels of one colour all err to the same side, and the ball is left.
    """
    total = x + change
    back = total - x
    if abs(back) <= abs(change):
        return total
    pull = abs(total) * ulp
    return total - pull if back > 0 else total + pull


def joined_top(top: "Ranks", value: float, index: int) -> "Ranks":
    """`top`, the four largest values so far with their indices, once `value` at `index` has come."""
    (v1, i1), (v2, i2), (v3, i3), (v4, _) = top
    if value > v1:
        return (value, index), (v1, i1), (v2, i2), (v3, i3)
    if value > v2:
        return (v1, i1), (value, index), (v2, i2), (v3, i3)
    if value > v3:
        return (v1, i1), (v2, i2), (value, index), (v3, i3)
    if value > v4:
        return (v1, i1), (v2, i2), (v3, i3), (value, index)
    return top


def philox_round(c0: int, c1: int, c2: int, c3: int, k0: int, k1: int) -> tuple[int, int, int, int]:
    """One of Philox4x32's ten rounds: 32-bit words held in wider, possibly signed and wrapping, integers."""
    p0, p1 = c0 * 0xD2511F53, c2 * 0xCD9E8D57
    return (p1 >> 32 & _MASK) ^ c1 ^ k0, p1 & _MASK, (p0 >> 32 & _MASK) ^ c3 ^ k1, p0 & _MASK


def next_key(k0: int, k1: int) -> tuple[int, int]:
    """The key of the round after the one with key (k0, k1)."""
    return (k0 + 0x9E3779B9) & _MASK, (k1 + 0xBB67AE85) & _MASK


def fraction(word: int) -> float:
    """The upper 24 bits of a 32-bit word as a number in [0, 1), exact in float32."""
    return (word >> 8) / 16777216
