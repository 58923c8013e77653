"""What both sides of bench_eval are timed with: the time spent in lm-eval's own calls for a model's answers."""

import functools
import time


class Clock:
    """Seconds in a model's `loglikelihood` and `generate_until`: tokenizing and forward passes, on either side alike.

    wall, cpu  since `start`; cpu counts all threads of the process, so that other work on the machine hardly shows in it
    """

    def __init__(self, model_class):
        self.start()
        for name in ("loglikelihood", "generate_until"):
            setattr(model_class, name, self._timed(getattr(model_class, name)))

    def start(self):
        self.wall = self.cpu = 0.0

    def _timed(self, method):
        @functools.wraps(method)
        def timed(*arguments, **options):
            wall, cpu = time.perf_counter(), time.process_time()
            try:
                return method(*arguments, **options)
            finally:
                self.wall, self.cpu = self.wall + time.perf_counter() - wall, self.cpu + time.process_time() - cpu

        return timed
