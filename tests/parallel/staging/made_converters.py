"""Converters of tests; a module of their own, which readers can import by its path alone."""

import os
import resource
import time


class Upper:
    """Letters to upper case, after a title."""

    form = "upper case"

    def num_bytes(self, file):
        return file.num_bytes + 1

    def convert(self, source, write):
        source.seek(0, 2)
        size = source.tell()
        source.seek(0)
        write(b":")
        write(memoryview(source.read(size).upper()))


class Refusing(Upper):
    """Says that it can't."""

    def convert(self, source, write):
        write(b"1")
        raise ValueError("no letters")


class Dying(Upper):
    """Takes its process along."""

    def convert(self, source, write):
        os.kill(os.getpid(), 11)


class Mistaken(Upper):
    """Has a bug."""

    def convert(self, source, write):
        raise ZeroDivisionError("a bug")


class Slow(Upper):
    """Takes a while over each file."""

    def convert(self, source, write):
        time.sleep(0.4)
        super().convert(source, write)


class Limiting(Upper):
    """Lets its process write no more than a kilobyte to any file."""

    def convert(self, source, write):
        resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))
        super().convert(source, write)
