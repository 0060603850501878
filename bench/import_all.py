"""Import every module of the installed package: a wheel that lacks one must not ship."""

import importlib
import pkgutil

import exastorm


def main() -> None:
    names = [m.name for m in pkgutil.walk_packages(exastorm.__path__, "exastorm.")]
    for name in names:
        importlib.import_module(name)
    print(f"imported {len(names)} modules of exastorm from {exastorm.__path__[0]}")


if __name__ == "__main__":
    main()
