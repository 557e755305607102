"""Time: every wait has a deadline, scaled by WEIR_TEST_SCALE for slow (sanitised) binaries. Nothing sleeps for a fixed time."""

import os
import time

SCALE = float(os.environ.get("WEIR_TEST_SCALE", "1"))


class Deadline:
    """A point in time `seconds` (times the scale) from now."""

    def __init__(self, seconds=5.0):
        self.seconds = seconds * SCALE
        self.end = time.monotonic() + self.seconds

    def left(self):
        """Seconds until it; TimeoutError when it has passed."""
        left = self.end - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"deadline of {self.seconds:.1f} s passed")
        return left

    def passed(self):
        return time.monotonic() >= self.end


def after(seconds):
    return Deadline(seconds)


def wait_until(condition, seconds=5.0, what="the condition", every=0.01):
    """Polls until condition() is true and returns its value. Exceptions in it count as false; the last one is told."""
    deadline = Deadline(seconds)
    last = None
    while True:
        try:
            value = condition()
            if value:
                return value
            last = value
        except (AssertionError, OSError, KeyError, IndexError, ValueError) as error:
            last = error
        if deadline.passed():
            raise AssertionError(f"{what} did not come true in {deadline.seconds:.1f} s; last: {last!r}")
        time.sleep(every)
