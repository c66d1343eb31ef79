"""Programs that run beside a test: started, read line by line, and stopped whatever happens."""

import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time

# As with Ctrl-C: what was started is stopped on the way out.
for told in [signal.SIGHUP, signal.SIGTERM]:
    signal.signal(told, lambda *_: sys.exit("told to stop"))


class Running:
    """A program, as a context: it is gone when the context ends.

    Of what the environment says of OpenTelemetry it hears only what is given here.
    """

    def __init__(self, *command, **environment):
        self.name = str(command[0]).rsplit("/", 1)[-1]
        self.output = []
        self._lines = queue.Queue()
        self._process = subprocess.Popen(
            [str(argument) for argument in command],
            env={key: value for key, value in os.environ.items() if not key.startswith("OTEL_")} | environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self._process.stdout:
            self.output.append(line)
            self._lines.put(line)
        self._lines.put(None)

    def says(self, pattern, seconds):
        """Waits for a line that matches, and gives the match."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError(self._report(f"said nothing like {pattern!r} within {seconds} s")) from None
            if line is None:
                raise AssertionError(self._report(f"ended without saying anything like {pattern!r}"))
            if match := re.search(pattern, line):
                return match

    def stop(self, seconds=10):
        """Asks it to end, as a platform would, and gives its exit code."""
        self._process.terminate()
        return self.end(seconds)

    def end(self, seconds=10):
        """Says that nothing more will come, waits for its end and gives its exit code."""
        self._process.stdin.close()
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(self._report(f"did not end within {seconds} s")) from None
        self._reader.join()
        return code

    def _report(self, what):
        return f"{self.name} {what}; its last words:\n{''.join(self.output[-30:])}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.wait()
        self._reader.join()


def until(seconds, attempt):
    """What `attempt` gives, once that is something; asked again and again for so many seconds."""
    deadline = time.monotonic() + seconds
    while True:
        found = attempt()
        if found or time.monotonic() > deadline:
            return found
        time.sleep(0.2)
