"""How fast a host is called that refuses calls since there are too many. Pure.

Times are seconds of any clock that does not go back.
"""

MAX_ASKED_REST = 300.0  # a host may ask for more than it would be given

_BURST_SECONDS = 0.1
_LOWEST = 0.1  # calls a second
_SEARCH_SECONDS = 0.5
_WINDOW_CALLS = 10
_MIN_WINDOW, _MAX_WINDOW = 1.0, 4.0
_MAX_DELAY = 10.0
_TOLERATED = 0.02  # of the calls that are made in a second
_TOLERATED_AFTER_FALL = 0.05
_FALL, _MAX_FALL = 0.035, 0.5
_STEP, _GROWTH = 0.003, 2.0


class Pace:
    """How fast a host is called that refuses calls when there are too many.

    Time is divided into windows with one rate each. Only the refusals of calls that were begun in
    a window say something about its rate; those of earlier calls, which come later, do not count.
    So a window is judged some time after its end: as long as refusals take.

    - The search: after the first refusal, the rate is what the host accepted until then. It
      doubles with each window until the next refusal.
    - A fall: when more calls of a window are refused than is tolerated, the rate falls at once to
      that of the last window that passed, or a little lower. The rate that was refused is the
      ceiling.
    - After a fall, the next window is measured to its end: if the host still refuses many, the rate
      falls by the part that was refused. So one rate is tried for a whole window even if the host
      takes its quota at the beginning of each second, and none for the rest of it.
    - A rise: when a window passes without a refusal, the rate goes half the way to just below the
      ceiling, or else rises by a small step. Above the ceiling the step doubles each time, since
      the limit must have risen. The rate rises only while use is made of it.
    """

    def __init__(self) -> None:
        self.rate: float | None = None  # calls a second
        self._ceiling: float | None = None  # the rate that was refused last; None in the search
        self._passed = 1.0  # the rate of the last window that passed
        self._step = _STEP
        self._has_fallen = False
        self._since = self._until = 0.0  # the window
        self._begun = self._refused = 0  # of the calls of the window
        self._delay = 0.0  # how long a refusal takes
        self._tokens = 1.0
        self._filled_at = 0.0
        self._pause_until = 0.0
        self._refused_at = 0.0
        self._accepted = self._accepted_before = 0  # in this second, and in the one before
        self._second = 0.0

    @property
    def refused_at(self) -> float:
        """When a call was refused last."""
        return self._refused_at

    def allowance(self, now: float) -> int | None:
        """Return how many calls may be begun now; None when that is not limited."""
        if self.rate is not None and now >= self._until + self._delay:
            self._judge(self.rate, now)
        if now < self._pause_until:
            return 0
        if self.rate is None:
            return None
        self._fill(self.rate, now)
        return int(self._tokens)

    def seconds_to_next(self, now: float) -> float:
        """Return in how many seconds the next call may be begun; 0 when it may be now."""
        wait = max(self._pause_until - now, 0)
        if self.rate is not None:
            missing = 1 - self._tokens - (now - self._filled_at) * self.rate
            wait = max(wait, missing / self.rate)
        return wait

    def begun(self, now: float) -> None:
        """Note that a call was begun."""
        if self.rate is not None:
            self._tokens = max(self._tokens - 1, -1.0)
            self._begun += now < self._until

    def accepted(self, now: float) -> None:
        """Note that the host has run a call."""
        self._turn(now)
        self._accepted += 1
        if self.rate is not None and self._ceiling is None and self.rate < self._accepted:
            self._fill(self.rate, now)
            self.rate = self._passed = float(self._accepted)

    def refused(self, now: float, begun_at: float, asked: float = 0) -> None:
        """Note that the host has refused a call since there are too many.

        Args:
            now: The time.
            begun_at: When the call was begun.
            asked: For how long the host asks to be left alone. It is, if it takes no calls at all.
        """
        self._turn(now)
        self._refused_at = now
        self._delay = max(self._delay, min(now - begun_at, _MAX_DELAY))
        lately = max(self._accepted, self._accepted_before)
        if asked and not lately:
            self._pause_until = max(self._pause_until, now + min(asked, MAX_ASKED_REST))
        if self.rate is None:
            self._passed = max(float(lately), 1.0)
            self._tokens, self._filled_at = 0.0, now
            self._begin_window(self._passed, now)
        elif self._since <= max(begun_at, now - _MAX_DELAY) < self._until:
            self._refused += 1
            tolerated = 0 if self._ceiling is None else _TOLERATED * self.rate
            if not self._has_fallen and self._refused > tolerated:
                self._fall(self.rate, min(self.rate * (1 - _FALL), self._passed), now)

    def _judge(self, rate: float, now: float) -> None:
        """Set the rate of the next window by what became of the calls of the last one."""
        self._delay *= 0.9
        if self._has_fallen and self._refused > _TOLERATED_AFTER_FALL * self._begun:
            if self._refused == 1:  # perhaps since the calls before have used up the quota
                self._begin_window(max(rate * (1 - _FALL), _LOWEST), now)
            else:
                part = min(self._refused / max(self._begun, 1), _MAX_FALL)
                self._fall(rate, rate * (1 - part), now)
            return
        self._has_fallen = False
        self._passed = rate
        is_used = self._begun >= max(0.9 * rate * (self._until - self._since), 1)
        if is_used and not self._refused:
            rate = self._risen(rate)
        self._begin_window(rate, now)

    def _risen(self, rate: float) -> float:
        if self._ceiling is None:
            return 2 * rate
        below = self._ceiling * (1 - _FALL)
        rate = max((rate + below) / 2, rate * (1 + self._step))
        if rate > self._ceiling:
            self._step = min(_GROWTH * self._step, 1.0)
        return rate

    def _fall(self, refused: float, rate: float, now: float) -> None:
        self._ceiling, self._step, self._has_fallen = refused, _STEP, True
        self._begin_window(max(rate, _LOWEST), now)

    def _begin_window(self, rate: float, now: float) -> None:
        if self.rate is not None:
            self._fill(self.rate, now)
        if self._ceiling is None:
            seconds = _SEARCH_SECONDS
        else:
            seconds = min(max(_MIN_WINDOW, _WINDOW_CALLS / rate), _MAX_WINDOW)
        self.rate = rate
        self._since, self._until = now, now + seconds
        self._begun = self._refused = 0

    def _fill(self, rate: float, now: float) -> None:
        """Add the tokens of the time since this was last done, at the rate of that time."""
        burst = max(1.0, rate * _BURST_SECONDS)
        self._tokens = min(burst, self._tokens + (now - self._filled_at) * rate)
        self._filled_at = now

    def _turn(self, now: float) -> None:
        """Begin another second when the one that is has passed."""
        if now - self._second >= 1:
            self._accepted_before = self._accepted if now - self._second < 2 else 0
            self._accepted, self._second = 0, now
