"""`python -m phase4` is `phase4`."""

from phase4.cli.main import entry

if __name__ == "__main__":
    entry()
